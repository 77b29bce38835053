// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"dbupgrade/tests/cluster/e2e/harness"
)

// render is what kubectl apply -k would send, one text an object.
func render(t testing.TB, directory string) []string {
	t.Helper()
	return strings.Split(cluster.Kubectl(t, "kustomize", harness.Root("manifests", directory)), "\n---\n")
}

// podTemplate is that of a process's Deployment in manifests/base.
func podTemplate(t testing.TB, process string) corev1.PodTemplateSpec {
	t.Helper()
	for _, text := range render(t, "base") {
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

func TestItIsInstalledByOneCommand(t *testing.T) {
	t.Parallel()
	var kinds []string
	for _, text := range render(t, "monitoring") {
		var object corev1.ConfigMap // of the others, what all have
		if err := yaml.Unmarshal([]byte(text), &object); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, object.Kind)
		if object.Namespace != harness.SystemNamespace {
			t.Errorf("%s %s: namespace %q", object.Kind, object.Name, object.Namespace)
		}
		if object.Kind != "ConfigMap" {
			continue
		}
		want, err := os.ReadFile(harness.Root("manifests", "monitoring", "dashboard.json"))
		if err != nil {
			t.Fatal(err)
		}
		if object.Data["dbupgrade.json"] != string(want) || object.Labels["grafana_dashboard"] != "1" {
			t.Errorf("Grafana does not find the dashboard: labels %v", object.Labels)
		}
	}
	slices.Sort(kinds)
	if want := []string{"ConfigMap", "PodMonitor", "PrometheusRule"}; !slices.Equal(kinds, want) {
		t.Errorf("want %v, got %v", want, kinds)
	}
}

// TestThePodMonitorFitsThePods: it selects the pods of both processes, by a port that they have.
func TestThePodMonitorFitsThePods(t *testing.T) {
	t.Parallel()
	var monitor monitoringv1.PodMonitor
	readManifest(t, "podmonitor.yaml", &monitor)
	for _, process := range []string{"reconciler", "webhook"} {
		pod := podTemplate(t, process)
		for label, want := range monitor.Spec.Selector.MatchLabels {
			if pod.Labels[label] != want {
				t.Errorf("%s: label %s: want %s, got %s", process, label, want, pod.Labels[label])
			}
		}
		for _, wanted := range monitor.Spec.Selector.MatchExpressions {
			if !slices.Contains(wanted.Values, pod.Labels[wanted.Key]) {
				t.Errorf("%s: label %s=%s is not among %v", process, wanted.Key, pod.Labels[wanted.Key], wanted.Values)
			}
		}
		if pod.Labels[monitor.Spec.JobLabel] != "dbupgrade" {
			t.Errorf("%s: job=%q", process, pod.Labels[monitor.Spec.JobLabel])
		}
		var ports []string
		for _, port := range pod.Spec.Containers[0].Ports {
			ports = append(ports, port.Name)
		}
		for _, endpoint := range monitor.Spec.PodMetricsEndpoints {
			if !slices.Contains(ports, *endpoint.Port) {
				t.Errorf("%s has no port %s", process, *endpoint.Port)
			}
		}
	}
}

var (
	plainConfiguration = regexp.MustCompile("(?s)```yaml\n(rule_files: .*?)```")
	discovery          = regexp.MustCompile(`(?m)^  kubernetes_sd_configs:\n  - role: pod\n    namespaces: .*\n`)
)

// TestThePlainConfigurationIsSound: Prometheus takes what docs/monitoring.md says to write, but for
// the discovery of pods, without which Debian builds it.
func TestThePlainConfigurationIsSound(t *testing.T) {
	t.Parallel()
	match := plainConfiguration.FindStringSubmatch(readPage(t, "monitoring.md"))
	if match == nil {
		t.Fatal("docs/monitoring.md has no configuration of Prometheus")
	}
	dir, text := t.TempDir(), discovery.ReplaceAllString(match[1], "")
	if text == match[1] {
		t.Error("it does not discover pods as this test expects")
	}
	harness.WriteFile(t, filepath.Join(dir, "prometheus.yaml"), []byte(text))
	writeRules(t, readRules(t), filepath.Join(dir, "dbupgrade-rules.yaml"))
	if out, err := promtool("", "check", "config", filepath.Join(dir, "prometheus.yaml")); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
