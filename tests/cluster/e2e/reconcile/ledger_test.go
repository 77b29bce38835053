// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dbupgrade/tests/cluster/e2e/harness"
)

var errf = fmt.Errorf

// A spec, once applied, is not applied again for anything but a change of what it says, or a retry.
func TestOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	r := w.start()
	w.create("shop", specOf("ok-1"))
	object := w.await("shop", done)
	w.patch("shop", map[string]any{"metadata": map[string]any{"labels": map[string]any{"touched": "yes"}}})
	w.settle()
	r.Stop(t)
	w.start()
	w.settle()
	job := harness.Text(object, "status", "jobName")
	w.deleteJob(job, metav1.DeletePropagationBackground)
	w.jobGone(job)
	w.settle()
	w.patch("shop", map[string]any{"spec": map[string]any{"runner": map[string]any{"activeDeadlineSeconds": 99}}})
	w.await("shop", done)
	w.patch("shop", map[string]any{"spec": map[string]any{"migrations": map[string]any{"dir": "/migrations"}}})
	w.settle()
	w.await("shop", done)
	w.wantRuns("ok-1")
	w.wantJobs(1, 1)
}

// A failure stays one until a person changes something about it.
func TestNotAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	r := w.start()
	w.create("shop", specOf("fail-1"))
	job := harness.Text(w.await("shop", failed), "status", "jobName")
	r.Stop(t)
	w.start()
	w.settle()
	w.deleteJob(job, metav1.DeletePropagationBackground)
	w.jobGone(job)
	w.patch("shop", map[string]any{"metadata": map[string]any{"labels": map[string]any{"touched": "yes"}}})
	w.settle()
	w.await("shop", failed, `relation "users" already exists`)
	w.wantRuns("fail-1")
	w.patch("shop", map[string]any{"spec": map[string]any{"runner": map[string]any{"activeDeadlineSeconds": 99}}})
	w.awaitRuns("fail-1", "fail-1")
	w.await("shop", failed)
	w.wantJobs(2, 2)
}

func TestRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	w.create("shop", specOf("fail-1"))
	w.await("shop", failed)
	w.retry("shop", "1")
	w.awaitRuns("fail-1", "fail-1")
	object := w.await("shop", failed)
	if got := harness.Text(object, "status", "lastHandledRetry"); got != "1" {
		t.Errorf("lastHandledRetry: %q", got)
	}
	w.retry("shop", nil)
	w.settle()
	w.retry("shop", "1")
	w.settle()
	w.wantRuns("fail-1", "fail-1")
	w.image("shop", "ok-2")
	w.await("shop", done)
	w.wantRuns("fail-1", "fail-1", "ok-2")
	w.retry("shop", "2")
	w.awaitRuns("fail-1", "fail-1", "ok-2", "ok-2")
	w.await("shop", done)
}

func TestChangesOfTheSpecAtEachMoment(t *testing.T) {
	t.Parallel()
	t.Run("while it runs", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.db()
		w.start()
		w.create("shop", specOf("hang-1"))
		w.awaitRun("shop", "hang-1")
		w.image("shop", "ok-2")
		w.settle()
		w.await("shop", running)
		w.wantRuns("hang-1")
		w.kubelet.Finish("hang-1", 0)
		object := w.await("shop", done)
		w.wantRuns("hang-1", "ok-2")
		if got := strings.Join(harness.History(object), " "); got != "Succeeded Succeeded" {
			t.Errorf("history: %s", got)
		}
	})
	t.Run("while it runs, and it fails then", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.db()
		w.start()
		w.create("shop", specOf("hang-1"))
		w.awaitRun("shop", "hang-1")
		w.image("shop", "ok-2")
		w.kubelet.Finish("hang-1", 1)
		w.await("shop", done)
		w.wantRuns("hang-1", "ok-2")
	})
	t.Run("A, B, A while A runs", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.db()
		w.start()
		w.create("shop", specOf("hang-a"))
		w.awaitRun("shop", "hang-a")
		w.image("shop", "ok-b")
		w.settle()
		w.image("shop", "hang-a")
		w.settle()
		w.kubelet.Finish("hang-a", 0)
		w.await("shop", done)
		w.settle()
		w.wantRuns("hang-a")
	})
	t.Run("A, B, A while B runs", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.db()
		w.start()
		w.create("shop", specOf("ok-a"))
		w.await("shop", done)
		w.image("shop", "hang-b")
		w.awaitRun("shop", "hang-b")
		w.image("shop", "ok-a")
		w.settle()
		w.wantRuns("ok-a", "hang-b")
		w.kubelet.Finish("hang-b", 0)
		w.await("shop", done)
		w.wantRuns("ok-a", "hang-b", "ok-a")
	})
	t.Run("A, B, A after each has ended", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.db()
		w.start()
		w.create("shop", specOf("ok-a"))
		for i, tag := range []string{"ok-a", "ok-b", "ok-a"} {
			if i > 0 {
				w.image("shop", tag)
			}
			w.await("shop", done)
		}
		w.wantRuns("ok-a", "ok-b", "ok-a")
		w.wantJobs(3, 3)
	})
	t.Run("A, B, A while A waits for its image", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.db()
		w.start()
		w.create("shop", specOf("typo-a"))
		w.await("shop", running, "ImagePullBackOff")
		w.image("shop", "hang-b")
		w.awaitRun("shop", "hang-b")
		w.image("shop", "typo-a")
		w.kubelet.Finish("hang-b", 0)
		w.await("shop", running, "ImagePullBackOff")
		w.image("shop", "hang-b")
		w.awaitRuns("hang-b", "hang-b")
		w.kubelet.Finish("hang-b", 0)
		w.await("shop", done)
	})
	t.Run("A, B, A after A has failed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.db()
		w.start()
		w.create("shop", specOf("fail-a"))
		w.await("shop", failed)
		w.image("shop", "ok-b")
		w.await("shop", done)
		w.image("shop", "fail-a")
		w.awaitRuns("fail-a", "ok-b", "fail-a")
		w.await("shop", failed)
	})
	t.Run("the runner while it runs", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.db()
		w.start()
		w.create("shop", specOf("hang-1"))
		w.awaitRun("shop", "hang-1")
		w.patch("shop", map[string]any{"spec": map[string]any{"runner": map[string]any{"activeDeadlineSeconds": 99}}})
		w.settle()
		w.kubelet.Finish("hang-1", 0)
		w.await("shop", done)
		w.wantRuns("hang-1")
	})
}

// A running Job that somebody deletes may have changed the database.
func TestTheRunningJobIsDeleted(t *testing.T) {
	t.Parallel()
	for _, policy := range []metav1.DeletionPropagation{
		metav1.DeletePropagationBackground, metav1.DeletePropagationForeground} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.db()
			w.start()
			w.create("shop", specOf("hang-1"))
			w.deleteJob(w.awaitRun("shop", "hang-1"), policy)
			w.await("shop", lost, "deleted before its outcome was seen")
			w.settle()
			w.wantRuns("hang-1")
			w.retry("shop", "now")
			w.awaitRuns("hang-1", "hang-1")
			w.kubelet.Finish("hang-1", 0)
			w.await("shop", done)
		})
	}
}

// A Pod that is left over from a deleted Job is still a migration that runs.
func TestAPodOutlivesItsJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	w.kubelet.HoldDeleted = true
	w.create("shop", specOf("hang-1"))
	w.deleteJob(w.awaitRun("shop", "hang-1"), metav1.DeletePropagationBackground)
	w.await("shop", lost)
	w.image("shop", "ok-2")
	w.await("shop", running, "Waiting for the Pod dbupgrade-shop-")
	w.settle()
	w.wantRuns("hang-1")
	w.kubelet.Finish("hang-1", 0)
	w.await("shop", done)
	w.wantRuns("hang-1", "ok-2")
}

func TestDeletion(t *testing.T) {
	t.Parallel()
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground,
		metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan} {
		t.Run(string(policy)+" while it runs", func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.db()
			w.start()
			w.create("shop", specOf("hang-1"))
			w.awaitRun("shop", "hang-1")
			w.delete("shop", policy)
			if policy == metav1.DeletePropagationOrphan {
				w.gone("shop")
				w.kubelet.Finish("hang-1", 0)
			}
			w.gone("shop")
			w.settle()
			w.wantRuns("hang-1")
			w.wantJobs(1, 1)
		})
		t.Run(string(policy)+" when it is done", func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.db()
			w.start()
			w.create("shop", specOf("ok-1"))
			w.await("shop", done)
			w.delete("shop", policy)
			w.gone("shop")
			w.settle()
			w.wantJobs(1, 1)
		})
		t.Run(string(policy)+", and a new object at once", func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.db()
			w.start()
			w.kubelet.HoldDeleted = true
			w.create("shop", specOf("hang-1"))
			w.awaitRun("shop", "hang-1")
			w.delete("shop", policy)
			if policy == metav1.DeletePropagationForeground {
				// The object waits for its Job, and that for its Pod.
				w.settle()
				w.kubelet.Finish("hang-1", 0)
				w.gone("shop")
				w.create("shop", specOf("ok-1"))
			} else {
				w.gone("shop")
				w.create("shop", specOf("ok-1"))
				w.await("shop", running, "Waiting for the ", " dbupgrade-shop-")
				w.settle()
				w.wantRuns("hang-1")
				w.kubelet.Finish("hang-1", 0)
			}
			w.await("shop", done)
			w.wantRuns("hang-1", "ok-1")
			w.wantJobs(2, 2)
		})
	}
	t.Run("while a finalizer holds it", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.db()
		w.start()
		w.create("shop", specOf("fail-1"))
		w.await("shop", failed)
		w.patch("shop", map[string]any{"metadata": map[string]any{"finalizers": []any{"example.com/hold"}}})
		w.delete("shop", metav1.DeletePropagationBackground)
		w.image("shop", "ok-2")
		w.settle()
		w.wantRuns("fail-1")
		w.patch("shop", map[string]any{"metadata": map[string]any{"finalizers": nil}})
		w.gone("shop")
	})
	t.Run("of the namespace", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.db()
		r := w.startCareless()
		w.create("shop", specOf("hang-1"))
		w.awaitRun("shop", "hang-1")
		if err := cluster.Client.CoreV1().Namespaces().Delete(t.Context(), w.ns, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.gone("shop")
		w.settle()
		w.wantJobs(1, 1)
		if !r.Running() {
			t.Error("the reconciler has ended")
		}
	})
}

// The status that the earlier Go program left.
func TestAdoption(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	object := w.create("shop", specOf("ok-1"))
	w.patch("shop", map[string]any{"status": map[string]any{"observedGeneration": object.GetGeneration(), "conditions": []any{
		map[string]any{"type": "Ready", "status": "True", "reason": "MigrationComplete", "message": "Migration completed successfully",
			"observedGeneration": object.GetGeneration(), "lastTransitionTime": "2026-01-01T00:00:00Z"},
		map[string]any{"type": "Custom", "status": "True", "reason": "Kept", "message": "",
			"lastTransitionTime": "2026-01-01T00:00:00Z"}}}}, "status")
	w.start()
	object = w.await("shop", done)
	w.settle()
	w.wantJobs(0, 0)
	if !strings.Contains(fmt.Sprint(object.Object["status"]), "Kept") {
		t.Error("a condition of another type is gone")
	}
	w.image("shop", "ok-2")
	w.await("shop", done)
	w.wantRuns("ok-2")
}
