// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"os"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"dbupgrade/tests/cluster/e2e/harness"
)

// What becomes of the objects that users of the earlier Go program have.
func TestTheEarlierProgramsObjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.secret("db", map[string]string{"url": "postgres://app:" + password + "@db/app",
		"DATABASE_URL": "postgres://app:" + password + "@db/app"})
	w.start()
	situations := map[string]string{
		"basic": done, "registry-with-port": running, "post-checks": done,
		"every-check": checks, "rds": aws, "aurora": aws,
	}
	files, err := os.ReadDir(harness.Root("tests", "data", "earlier", "accepted"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		w.earlier(file.Name())
		name := strings.TrimSuffix(file.Name(), ".yaml")
		if situations[name] == "" {
			t.Fatalf("what should become of %s?", name)
		}
		w.await(name, situations[name])
		delete(situations, name)
	}
	if len(situations) > 0 {
		t.Errorf("no files for %v", situations)
	}
	w.kubelet.Finish("5000/shop/migrations:e2e", 0)
	w.await("registry-with-port", done)
}

// earlier makes an object of tests/data/earlier.
func (w *world) earlier(file string) *unstructured.Unstructured {
	w.Helper()
	content, err := os.ReadFile(harness.Root("tests", "data", "earlier", "accepted", file))
	if err != nil {
		w.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict(content, &object.Object); err != nil {
		w.Fatal(err)
	}
	return w.create(object.GetName(), object.Object["spec"].(map[string]any))
}

// left is what the Go program left of an object: status, Job and its copy of the Secret.
type left struct {
	ready, reason           string // the condition Ready
	progressing, progressed string // the condition Progressing
	tag                     string // of the image of its Job
}

// leave plays the Go program.
func (w *world) leave(l left) *unstructured.Unstructured {
	w.Helper()
	w.db()
	object := w.create("shop", specOf("ok-1"))
	yes, no := true, int32(0)
	meta := metav1.ObjectMeta{Name: "dbupgrade-shop-1f0e9d8c", OwnerReferences: []metav1.OwnerReference{{
		APIVersion: "dbupgrade.subbug.learning/v1alpha1", Kind: "DBUpgrade", Name: "shop", UID: object.GetUID(),
		Controller: &yes, BlockOwnerDeletion: &yes}}}
	if _, err := cluster.Client.BatchV1().Jobs(w.ns).Create(w.Context(), &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{
		BackoffLimit: &no, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "migrate", Image: image(l.tag)}}}}}}, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: *meta.DeepCopy(), StringData: map[string]string{"url": password}}
	secret.Name = "dbupgrade-shop-connection"
	if _, err := cluster.Client.CoreV1().Secrets(w.ns).Create(w.Context(), secret, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	condition := func(kind, status, reason string) map[string]any {
		return map[string]any{"type": kind, "status": status, "reason": reason, "message": "as it was",
			"observedGeneration": object.GetGeneration(), "lastTransitionTime": "2026-01-01T00:00:00Z"}
	}
	w.patch("shop", map[string]any{"status": map[string]any{"observedGeneration": object.GetGeneration(),
		"jobCompletedAt": "2026-01-01T00:00:00Z",
		"conditions":     []any{condition("Ready", l.ready, l.reason), condition("Progressing", l.progressing, l.progressed)},
	}}, "status")
	harness.Eventually(w, harness.Patience, l.tag+" runs", func() error {
		if ran := w.kubelet.Ran(); len(ran) == 0 {
			return errf("not yet")
		}
		return nil
	})
	return w.get("shop")
}

// wantUntouched checks that the Go program's Job and Secret are as they were.
func (w *world) wantUntouched() {
	w.Helper()
	job := w.job("dbupgrade-shop-1f0e9d8c")
	if job.Labels["dbupgrade.subbug.learning/name"] != "" || job.DeletionTimestamp != nil {
		w.Errorf("the Job: %+v", job.ObjectMeta)
	}
	secret, err := cluster.Client.CoreV1().Secrets(w.ns).Get(w.Context(), "dbupgrade-shop-connection", metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	if string(secret.Data["url"]) != password || len(secret.ManagedFields) != 1 {
		w.Errorf("the Secret: %+v", secret.ObjectMeta)
	}
}

func TestTakingOverFromTheEarlierProgram(t *testing.T) {
	t.Parallel()
	jobEnds := func(w *world) {
		w.Helper()
		harness.Eventually(w, harness.Patience, "the Job ends", func() error {
			for _, c := range w.job("dbupgrade-shop-1f0e9d8c").Status.Conditions {
				if c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed {
					return nil
				}
			}
			return errf("not yet")
		})
	}
	t.Run("what it has applied stays applied", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.leave(left{"True", "MigrationComplete", "False", "MigrationComplete", "ok-old"})
		jobEnds(w)
		w.start()
		object := w.await("shop", done)
		w.settle()
		w.wantRuns("ok-old")
		w.wantJobs(1, 1)
		w.wantUntouched()
		if harness.Text(object, "status", "appliedKey") == "" {
			t.Errorf("status: %v", object.Object["status"])
		}
	})
	t.Run("what changed since is applied", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.leave(left{"True", "MigrationComplete", "False", "MigrationComplete", "ok-old"})
		jobEnds(w)
		w.image("shop", "ok-2")
		w.start()
		w.await("shop", done)
		w.wantRuns("ok-old", "ok-2")
		w.wantUntouched()
	})
	t.Run("its running Job is waited for, and what it did is done again", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		before := w.leave(left{"False", "Initializing", "True", "MigrationInProgress", "hang-old"})
		w.start()
		time.Sleep(5 * time.Second) // several looks
		w.wantRuns("hang-old")
		w.wantJobs(1, 1)
		if after := w.get("shop"); after.GetResourceVersion() != before.GetResourceVersion() {
			t.Errorf("the object was written: %v", after.Object["status"])
		}
		w.kubelet.Finish("hang-old", 0)
		w.await("shop", done)
		w.wantRuns("hang-old", "ok-1")
		w.wantUntouched()
	})
	t.Run("what has failed is tried again", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.leave(left{"False", "JobFailed", "False", "JobFailed", "fail-old"})
		jobEnds(w)
		w.start()
		w.await("shop", done)
		w.wantRuns("fail-old", "ok-1")
		w.wantUntouched()
	})
}
