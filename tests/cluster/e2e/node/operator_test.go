// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"dbupgrade/tests/cluster/e2e/harness"
)

// restarts disturb the operator while migrations run. None of that may be seen in their outcome, nor
// by those who change a DBUpgrade meanwhile.
func restarts(t *testing.T) {
	t.Cleanup(func() {
		if err := node.AwaitOperator(); err != nil {
			t.Error(err)
		}
	})
	parallel(t, []test{
		// One after the other: whoever waits for a state must not miss it by the blow of a test beside.
		{"the reconciler's Pod is deleted, and the next one is killed", func(w *world) {
			w.survives(func() {
				node.Kubectl(w, "delete", "pods", "-n", harness.SystemNamespace, "-l", "app.kubernetes.io/component=reconciler", "--wait=false")
			})
			newWorld(w.T).survives(func() {
				for _, pid := range node.Pids(w, "dbupgrade-reconciler") {
					// It may end by itself meanwhile: the one whose Pod was deleted.
					if _, err := node.Exec("kill", "-9", pid); err != nil {
						w.Log(err)
					}
				}
			})
		}},
		{"the webhook is rolled out", webhookRollout},
	})
}

// survives checks that one migration, and no other, comes to its end when a blow falls while it runs.
func (w *world) survives(blow func()) {
	w.Helper()
	w.secret()
	w.apply("slow")
	job := w.awaitRunning()
	blow()
	w.wait("Ready")
	w.await(done)
	w.wantHistory("Succeeded")
	w.wantJobs(job)
	if got := node.SQL(w, w.ns, "SELECT count(*) FROM atlas_schema_revisions.atlas_schema_revisions"); got != "3" {
		w.Errorf("revisions: want 3, got %s", got)
	}
	w.wantEvents("Normal MigrationStarted JobCreated: Created migration Job "+job,
		"Normal MigrationSucceeded JobSucceeded: Migration completed successfully in …")
}

// apiServerGone lets a migration end while nobody can hear of it.
func apiServerGone(t *testing.T) {
	w := newWorld(t)
	w.survives(func() { node.WithoutAPIServer(t, func() { time.Sleep(12 * time.Second) }) })
}

// webhookRollout replaces both Pods of the webhook while people create and change DBUpgrades without
// a pause, until the old Pods are gone: not one request may fail.
func webhookRollout(w *world) {
	w.secret()
	w.apply("v1", "activeDeadlineSeconds: 1000")
	w.wait("Ready")
	before := webhookPods(w)
	if len(before) != 2 {
		w.Fatalf("want 2 Pods, got %v", before)
	}
	ctx, stop := context.WithCancel(w.Context())
	defer stop()
	creations, changes := w.stream(ctx, 4, w.tryCreate()), w.stream(ctx, 1, w.change)
	node.Kubectl(w, "rollout", "restart", "-n", harness.SystemNamespace, "deployment/dbupgrade-webhook")
	if err := node.AwaitOperator(); err != nil {
		w.Error(err)
	}
	harness.Eventually(w, harness.Patience, "only new Pods are left", func() error {
		now := webhookPods(w)
		for _, pod := range before {
			if slices.Contains(now, pod) {
				return fmt.Errorf("%s is still there", pod)
			}
		}
		return nil
	})
	stop()
	created, changed := creations(), changes()
	w.Logf("%d creations and %d changes while %v were replaced", created, changed, before)
	if created == 0 || changed == 0 {
		w.Error("nothing was asked meanwhile")
	}
	w.await(done)
}

// webhookPods are the names of those that have not gone.
func webhookPods(w *world) []string {
	return strings.Fields(node.Kubectl(w, "get", "pods", "-n", harness.SystemNamespace,
		"-l", "app.kubernetes.io/component=webhook", "-o", "jsonpath={.items[*].metadata.name}"))
}

// stream has as many people call do again and again until the context ends. What it returns waits
// for them and counts their calls; each that fails fails the test.
func (w *world) stream(ctx context.Context, people int, do func(n int64) error) func() int64 {
	var calls atomic.Int64
	var group sync.WaitGroup
	for range people {
		group.Go(func() {
			for ctx.Err() == nil {
				n := calls.Add(1)
				if err := do(n); err != nil {
					w.Errorf("request %d: %v", n, err)
				}
			}
		})
	}
	return func() int64 {
		group.Wait()
		return calls.Load()
	}
}

// tryCreate has a new object judged by both webhooks, and not stored.
func (w *world) tryCreate() func(int64) error {
	shop := w.get()
	return func(int64) error {
		object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": shop.GetAPIVersion(), "kind": shop.GetKind(),
			"metadata": map[string]any{"generateName": "tried-"}, "spec": shop.Object["spec"]}}
		_, err := w.upgrades.Create(w.Context(), object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
}

// change changes what the reconciler looks at without a new run.
func (w *world) change(n int64) error {
	patch := fmt.Sprintf(`{"spec": {"runner": {"activeDeadlineSeconds": %d}}}`, 1000+n%1000)
	_, err := w.upgrades.Patch(w.Context(), "shop", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// memory tells what each process takes.
func memory(t *testing.T) {
	for _, program := range []string{"dbupgrade-reconciler", "dbupgrade-webhook"} {
		for _, pid := range node.Pids(t, program) {
			text, err := node.Exec("cat", "/proc/"+pid+"/smaps_rollup")
			if err != nil {
				t.Fatal(err)
			}
			size := map[string]int{}
			for line := range strings.Lines(text) {
				var name string
				var kib int
				if n, _ := fmt.Sscanf(line, "%s %d kB", &name, &kib); n == 2 {
					size[strings.TrimSuffix(name, ":")] = kib
				}
			}
			t.Logf("%s: RSS %d KiB, private %d KiB", program, size["Rss"], size["Private_Clean"]+size["Private_Dirty"])
			if size["Rss"] == 0 || size["Rss"] > 32<<10 {
				t.Errorf("%s takes %d KiB, but a third of that will do", program, size["Rss"])
			}
		}
	}
}

// passwordNowhere looks for the password of all databases wherever people look. The logs of Pods are
// gone with them.
func passwordNowhere(t *testing.T) {
	seen := map[string]string{"the operator's logs": node.OperatorLogs()}
	for _, what := range []string{"dbupgrades", "jobs", "events", "configmaps", "leases"} {
		seen[what] = node.Kubectl(t, "get", what, "-A", "-o", "json")
		if !json.Valid([]byte(seen[what])) {
			t.Errorf("%s: no JSON", what)
		}
	}
	for what, text := range seen {
		if at := strings.Index(text, password); at >= 0 {
			t.Errorf("the password is in %s: %s", what, text[max(0, at-200):at+len(password)])
		}
	}
	for _, logger := range []string{"reconciler", "webhook"} {
		if !strings.Contains(seen["the operator's logs"], `"logger":"`+logger+`"`) {
			t.Errorf("there is nothing of the %s in the logs", logger)
		}
	}
}

// uninstall removes the operator while DBUpgrades are there and one of them runs, and installs it
// again.
func uninstall(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.secret()
	w.apply("v1")
	w.wait("Ready")
	other.secret()
	other.apply("slow", "terminationGracePeriodSeconds: 1")
	other.awaitRunning()

	begun := time.Now()
	node.Kubectl(t, "delete", "-k", harness.Root("manifests", "base"), "--timeout="+harness.Patience.String())
	t.Logf("removed after %.1f s", time.Since(begun).Seconds())
	harness.Eventually(t, harness.Patience, "nothing is left", func() error {
		left := w.kubectl("get", "jobs,pods", "-o", "name") + other.kubectl("get", "jobs,pods", "-o", "name") +
			node.Kubectl(t, "get", "-A", "-l", "app.kubernetes.io/part-of=dbupgrade", "-o", "name",
				"namespaces,crds,clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts,priorityclasses,"+
					"services,deployments,pods,validatingwebhookconfigurations,mutatingwebhookconfigurations")
		if left != "" {
			return errors.New(left)
		}
		return nil
	})
	if err := node.Install(); err != nil {
		t.Fatal(err)
	}
	w.apply("v2")
	w.wait("Ready")
	w.wantTables("orders users")
}
