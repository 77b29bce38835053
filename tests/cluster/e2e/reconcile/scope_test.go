// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"dbupgrade/tests/cluster/e2e/harness"
)

// label sets a label of an object, or removes it.
func (w *world) label(name, key string, value any) {
	w.Helper()
	w.patch(name, map[string]any{"metadata": map[string]any{"labels": map[string]any{key: value}}})
}

// wantIgnored checks that no reconciler has ever looked at an object.
func (w *world) wantIgnored(name string) {
	w.Helper()
	object := w.get(name)
	if seen, _, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration"); seen != -1 {
		w.Errorf("%s was looked at: %v", name, object.Object["status"])
	}
	w.wantJobs(0, 0)
}

func TestOnlyTheNamespacesThatAreGiven(t *testing.T) {
	t.Parallel()
	a, b, outside := newWorld(t), newWorld(t), newWorld(t)
	for _, w := range []*world{a, b, outside} {
		w.db()
		w.create("shop", specOf("ok-1"))
	}
	a.start("--namespace=" + b.ns) // beside its own
	for _, w := range []*world{a, b} {
		w.await("shop", done)
		w.wantRuns("ok-1")
		w.wantJobs(1, 1)
	}
	outside.settle()
	outside.wantIgnored("shop")
}

func TestOnlyWhatTheSelectorSelects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.create("other", specOf("ok-other"))
	w.label("other", "team", "b")
	w.start("--selector=team in (a)")
	w.create("shop", specOf("ok-1")) // without the label yet
	w.settle()
	w.wantIgnored("other")
	w.wantIgnored("shop")
	w.label("shop", "team", "a")
	w.await("shop", done)
	w.wantRuns("ok-1")
	w.wantJobs(1, 1)
}

// An object that leaves the selection is left as it stands. Its Job is not stopped: a migration
// never is. Whoever selects the object next, the same reconciler or another one, finds the run in
// its ledger and records the outcome; nothing runs twice.
func TestAnObjectLeavesTheSelectionWhileItsJobRuns(t *testing.T) {
	t.Parallel()
	for _, next := range []struct{ name, label string }{{"and comes back", "a"}, {"to that of another reconciler", "b"}} {
		t.Run(next.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.db()
			w.start("--selector=team=a")
			w.create("shop", specOf("hang-1"))
			w.label("shop", "team", "a")
			w.awaitRun("shop", "hang-1")
			before := w.await("shop", running)
			w.label("shop", "team", nil)
			w.settle()
			w.kubelet.Finish("hang-1", 0)
			w.settle()
			if got := w.get("shop"); harness.Conditions(got) != running {
				t.Errorf("somebody wrote its status: %s", harness.Conditions(got))
			}
			if next.label == "b" {
				w.start("--selector=team=b")
			}
			w.label("shop", "team", next.label)
			object := w.await("shop", done)
			if job := harness.Text(object, "status", "jobName"); job != harness.Text(before, "status", "jobName") {
				t.Errorf("another Job: %s", job)
			}
			w.wantRuns("hang-1")
			w.wantJobs(1, 1)
		})
	}
}
