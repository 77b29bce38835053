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
	"testing"

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
