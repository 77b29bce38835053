// SPDX-License-Identifier: Apache-2.0

// Package monitoring judges what manifests/monitoring brings to a cluster: alerts, by promtool and
// the tests in tests/monitoring; the dashboard; and that both ask for what the processes of the
// operator really export. For that a world with migrations is played once, with a Prometheus that
// looks at it.
package monitoring

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

func TestMain(m *testing.M) {
	for _, program := range []string{"promtool", "prometheus"} {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Fprintf(os.Stderr, "monitoring: %v: script/bootstrap installs it\n", err)
			os.Exit(1)
		}
	}
	os.Exit(harness.Run(m, &cluster, (*harness.Cluster).InstallRights, (*harness.Cluster).KubeletNode))
}

// podTemplate is that of a process's Deployment in manifests/base.
func podTemplate(t testing.TB, process string) corev1.PodTemplateSpec {
	t.Helper()
	for _, text := range strings.Split(cluster.Kubectl(t, "kustomize", harness.Root("manifests", "base")), "\n---\n") {
		var deployment appsv1.Deployment
		if err := yaml.Unmarshal([]byte(text), &deployment); err != nil {
			t.Fatal(err)
		}
		if deployment.Kind == "Deployment" && deployment.Name == "dbupgrade-"+process {
			return deployment.Spec.Template
		}
	}
	t.Fatalf("no Deployment dbupgrade-%s", process)
	panic("unreachable")
}
