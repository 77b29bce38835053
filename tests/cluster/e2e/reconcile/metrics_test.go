// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dbupgrade/tests/cluster/e2e/harness"
)

// scrape is the text of /metrics.
func scrape(t *testing.T, address string) string {
	t.Helper()
	var text []byte
	harness.Eventually(t, harness.Patience, "metrics", func() error {
		response, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, err = io.ReadAll(response.Body)
		return err
	})
	return string(text)
}

// sum adds up the series of a metric that have all of these labels.
func sum(t *testing.T, text, name string, labels ...string) (total float64) {
	t.Helper()
	found := false
lines:
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		rest, ok := strings.CutPrefix(series, name)
		if !ok || rest != "" && rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		if value == "" { // without labels
			_, value, _ = strings.Cut(rest, " ")
		}
		for _, label := range labels {
			if !strings.Contains(rest+",", label) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		total, found = total+v, true
	}
	if !found {
		t.Errorf("no series %s%v", name, labels)
	}
	return total
}

// The metrics tell the story of a migration, and are what Prometheus' own linter wants them to be.
func TestMetricsTellTheStory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	address, health := harness.FreeAddress(t), harness.FreeAddress(t)
	proxy := cluster.NewProxy(t)
	w.startBehind(proxy, "--metrics-bind-address="+address, "--health-probe-bind-address="+health, "--log-level=info")
	awaitStatus(t, health, "/readyz", http.StatusOK)
	w.create("shop", specOf("hang-1"))
	w.awaitRun("shop", "hang-1")
	w.await("shop", running)
	harness.Eventually(t, harness.Patience, "the state", func() error {
		text := scrape(t, address)
		if sum(t, text, "dbupgrade_objects", `state="Running"`) != 1 || sum(t, text, "dbupgrade_oldest_run_seconds") <= 0 {
			return fmt.Errorf("Running: %v, oldest: %v", sum(t, text, "dbupgrade_objects", `state="Running"`),
				sum(t, text, "dbupgrade_oldest_run_seconds"))
		}
		return nil
	})
	w.kubelet.Finish("hang-1", 0)
	w.await("shop", done)
	var text string
	harness.Eventually(t, harness.Patience, "the events", func() error {
		text = scrape(t, address)
		if got := sum(t, text, "dbupgrade_events_total", `result="sent"`); got != 3 {
			return fmt.Errorf("%v sent", got)
		}
		return nil
	})
	w.settle()
	text = scrape(t, address)
	for _, want := range []struct {
		name, label string
		value       float64
	}{
		{"dbupgrade_objects", `state="Succeeded"`, 1}, {"dbupgrade_objects", `state="Running"`, 0},
		{"dbupgrade_oldest_run_seconds", "", 0}, {"dbupgrade_migrations_total", `result="Succeeded"`, 1},
		{"dbupgrade_migration_duration_seconds_count", "", 1}, {"dbupgrade_events_total", `result="dropped"`, 0},
		{"dbupgrade_events_waiting", "", 0}, {"dbupgrade_watch_lists_total", `kind="Pod"`, 1},
		{"dbupgrade_watch_failures_total", "", 0}, {"leader_election_master_status", `name="dbupgrade-controller-manager.subbug.learning"`, 1},
		{"controller_runtime_reconcile_errors_total", `controller="dbupgrade"`, 0},
		{"controller_runtime_max_concurrent_reconciles", `controller="dbupgrade"`, 4},
		{"controller_runtime_active_workers", "", 0}, {"workqueue_depth", `priority="0"`, 0},
		{"workqueue_longest_running_processor_seconds", "", 0},
	} {
		if got := sum(t, text, want.name, want.label); got != want.value {
			t.Errorf("%s{%s}: want %v, got %v", want.name, want.label, want.value, got)
		}
	}
	ended := 0 // its watches will be counted when they end
	for _, e := range proxy.Exchanges() {
		if !strings.Contains(e.URL, "watch=") {
			ended++
		}
	}
	if got := sum(t, text, "rest_client_requests_total"); got != float64(ended) {
		t.Errorf("want %d requests, got %v", ended, got)
	}
	if sum(t, text, "workqueue_adds_total") != sum(t, text, "workqueue_queue_duration_seconds_count") ||
		sum(t, text, "workqueue_work_duration_seconds_count") != sum(t, text, "controller_runtime_reconcile_total") {
		t.Error("the counts of the queue contradict each other")
	}
	lint := exec.Command("promtool", "check", "metrics")
	lint.Stdin = strings.NewReader(text)
	if out, err := lint.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	awaitStatus(t, health, "/healthz", http.StatusOK)
}

func awaitStatus(t *testing.T, address, path string, want int) {
	t.Helper()
	harness.Eventually(t, harness.Patience, path, func() error {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != want {
			return fmt.Errorf("%s", response.Status)
		}
		return nil
	})
}

// An API server that cannot be reached is no reason to be started anew, only for not being ready.
func TestAliveWithoutAnAPIServer(t *testing.T) {
	t.Parallel()
	proxy := cluster.NewProxy(t)
	proxy.Before = func(*harness.Exchange) bool { return false }
	health := harness.FreeAddress(t)
	harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, proxy.URL, proxy.CA), "--health-probe-bind-address="+health)
	awaitStatus(t, health, "/healthz", http.StatusOK)
	awaitStatus(t, health, "/readyz", http.StatusInternalServerError)
}

// Each line of a pass says which object it is about and which pass it is.
func TestTheLogNamesThePass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	r := w.start("--log-level=info")
	w.create("shop", specOf("ok-1"))
	w.await("shop", done)
	var lines []string
	harness.Eventually(t, harness.Patience, "both lines of a migration", func() error {
		lines = slices.DeleteFunc(slices.Collect(strings.Lines(r.Log())), func(line string) bool {
			return !strings.Contains(line, "migration Job started") && !strings.Contains(line, "run ended")
		})
		if len(lines) != 2 {
			return fmt.Errorf("%q", lines)
		}
		return nil
	})
	for _, line := range lines {
		for _, field := range []string{`"controller":"dbupgrade"`, `"controllerGroup":"dbupgrade.subbug.learning"`,
			`"controllerKind":"DBUpgrade"`, `"namespace":"` + w.ns + `"`, `"name":"shop"`, `"reconcileID":"`} {
			if !strings.Contains(line, field) {
				t.Errorf("no %s in: %s", field, line)
			}
		}
	}
}
