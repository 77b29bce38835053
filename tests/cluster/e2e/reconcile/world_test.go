// SPDX-License-Identifier: Apache-2.0

// Package reconcile judges the reconciler on a real API server with the real Job controller and
// garbage collector. The tests play the kubelet; the reconciler has the shipped rights, no more, and
// to be refused anything for want of a right fails the package.
package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

func TestMain(m *testing.M) {
	os.Exit(harness.RunAudited(m, &cluster, (*harness.Cluster).InstallRights, (*harness.Cluster).KubeletNode))
}

// password is in every Secret of these tests, and must be nowhere else.
const password = "correct-horse-battery"

// The rows of the table of status: what each situation looks like from outside.
const (
	seen        = "Accepted=True/ValidSpec Ready=False/Initializing Progressing=False/Idle Degraded=False/Idle Blocked=False/Idle Reconciling"
	invalid     = "Accepted=False/InvalidSpec Ready=False/InvalidSpec Progressing=False/Idle Degraded=True/InvalidSpec Blocked=False/Idle Stalled"
	secretMiss  = "Accepted=True/ValidSpec Ready=False/Initializing Progressing=False/Idle Degraded=True/SecretNotFound Blocked=False/Idle Reconciling"
	aws         = "Accepted=True/ValidSpec Ready=False/AWSNotImplemented Progressing=False/Idle Degraded=False/Idle Blocked=True/AWSNotImplemented Stalled"
	checks      = "Accepted=True/ValidSpec Ready=False/ChecksNotImplemented Progressing=False/Idle Degraded=False/Idle Blocked=True/ChecksNotImplemented Stalled"
	suspended   = "Accepted=True/ValidSpec Ready=False/Suspended Progressing=False/Idle Degraded=False/Idle Blocked=True/Suspended"
	running     = "Accepted=True/ValidSpec Ready=False/JobRunning Progressing=True/MigrationInProgress Degraded=False/Idle Blocked=False/Idle Reconciling"
	done        = "Accepted=True/ValidSpec Ready=True/MigrationComplete Progressing=False/Idle Degraded=False/Idle Blocked=False/Idle"
	failed      = "Accepted=True/ValidSpec Ready=False/JobFailed Progressing=False/Idle Degraded=True/MigrationFailed Blocked=False/Idle Stalled"
	lost        = "Accepted=True/ValidSpec Ready=False/JobFailed Progressing=False/Idle Degraded=True/JobLost Blocked=False/Idle Stalled"
	rejected    = "Accepted=True/ValidSpec Ready=False/JobRejected Progressing=False/Idle Degraded=True/JobRejected Blocked=False/Idle Reconciling"
	refused     = "Accepted=True/ValidSpec Ready=False/JobRejected Progressing=False/Idle Degraded=True/JobRejected Blocked=False/Idle Stalled"
	forbidden   = "Accepted=True/ValidSpec Ready=False/Forbidden Progressing=False/Idle Degraded=True/Forbidden Blocked=False/Idle Reconciling"
	conflict    = "Accepted=True/ValidSpec Ready=False/JobNameConflict Progressing=False/Idle Degraded=True/JobNameConflict Blocked=False/Idle Stalled"
	invalidBusy = "Accepted=False/InvalidSpec Ready=False/JobRunning Progressing=True/MigrationInProgress Degraded=True/InvalidSpec Blocked=False/Idle Reconciling"
)

// world is a namespace with a kubelet, in which a test plays.
type world struct {
	*testing.T
	ns      string
	kubelet *harness.Kubelet
	objects dynamic.ResourceInterface

	mu   sync.Mutex
	jobs map[types.UID]*batchv1.Job // all that ever were, in their last form
	went map[types.UID]bool         // were unsuspended at some time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, ns: cluster.Namespace(t), jobs: map[types.UID]*batchv1.Job{}, went: map[types.UID]bool{}}
	w.kubelet = cluster.NewKubelet(t, w.ns)
	w.objects = cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(w.ns)
	w.watchJobs()
	// Without it no Pod is admitted: the Job controller would try again later and later.
	harness.Eventually(t, harness.Patience, "the default service account", func() error {
		_, err := cluster.Client.CoreV1().ServiceAccounts(w.ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	return w
}

// start runs a reconciler for this namespace. It may not complain, and must still run at the end.
func (w *world) start(args ...string) *harness.Process {
	w.Helper()
	r := w.startCareless(args...)
	w.Cleanup(func() {
		for _, line := range r.Complaints() {
			w.Error("the reconciler complains: ", line)
		}
	})
	return r
}

// startCareless is start for tests that give it reason to complain.
func (w *world) startCareless(args ...string) *harness.Process {
	w.Helper()
	return w.startBehind(nil, args...)
}

// startBehind is startCareless with a proxy between it and the API server.
func (w *world) startBehind(proxy *harness.Proxy, args ...string) *harness.Process {
	w.Helper()
	server, ca := "", []byte(nil)
	if proxy != nil {
		server, ca = proxy.URL, proxy.CA
	}
	r := harness.StartReconciler(w, cluster.ReconcilerKubeconfig(w, server, ca),
		append([]string{"--namespace=" + w.ns}, args...)...)
	w.Cleanup(func() {
		if strings.Contains(r.Log(), password) {
			w.Error("the password is in the log")
		}
	})
	return r
}

func (w *world) watchJobs() {
	ctx, cancel := context.WithCancel(context.Background())
	factory := informers.NewSharedInformerFactoryWithOptions(cluster.Client, 0, informers.WithNamespace(w.ns))
	informer := factory.Batch().V1().Jobs().Informer()
	see := func(object any) {
		job := object.(*batchv1.Job)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.jobs[job.UID] = job
		if job.Spec.Suspend == nil || !*job.Spec.Suspend {
			w.went[job.UID] = true
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: see, UpdateFunc: func(_, object any) { see(object) }}); err != nil {
		w.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	w.Cleanup(func() {
		cancel()
		factory.Shutdown()
	})
}

// wantRuns checks which migrations have started, in order, and that as many Jobs ever went.
func (w *world) wantRuns(tags ...string) {
	w.Helper()
	if got := w.kubelet.Ran(); !slices.Equal(got, tags) {
		w.Errorf("migrations that ran: want %v, got %v", tags, got)
	}
}

// wantJobs checks how many Jobs were ever made, and how many of them ever started.
func (w *world) wantJobs(made, started int) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.jobs) != made || len(w.went) != started {
		var names []string
		for _, job := range w.jobs {
			names = append(names, fmt.Sprintf("%s (started: %v)", job.Name, w.went[job.UID]))
		}
		w.Errorf("Jobs: want %d, %d of them started; got %v", made, started, names)
	}
}

// settle waits long enough for a reconciler to do what it should not do: what a pass does after an
// event, it does within milliseconds.
func (w *world) settle() { time.Sleep(1500 * time.Millisecond) }

// secret makes the connection Secret, or changes it.
func (w *world) secret(name string, data map[string]string) {
	w.Helper()
	secrets := cluster.Client.CoreV1().Secrets(w.ns)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}
	_, err := secrets.Create(w.Context(), secret, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(w.Context(), secret, metav1.UpdateOptions{})
	}
	if err != nil {
		w.Fatal(err)
	}
}

// db is the Secret that upgrades of these tests name.
func (w *world) db() {
	w.Helper()
	w.secret("db", map[string]string{"url": "postgres://app:" + password + "@db/app"})
}

// spec is one of an image tag; change edits it.
type edit func(spec map[string]any)

func set(value any, path ...string) edit {
	return func(spec map[string]any) {
		if err := unstructured.SetNestedField(spec, value, path...); err != nil {
			panic(err)
		}
	}
}

func image(tag string) string { return "shop/migrations:" + tag }

func specOf(tag string, edits ...edit) map[string]any {
	spec := map[string]any{
		"migrations": map[string]any{"image": image(tag)},
		"database": map[string]any{"type": "selfHosted", "connection": map[string]any{
			"urlSecretRef": map[string]any{"name": "db", "key": "url"}}},
	}
	for _, e := range edits {
		e(spec)
	}
	return spec
}

// create makes a DBUpgrade.
func (w *world) create(name string, spec map[string]any) *unstructured.Unstructured {
	w.Helper()
	object, err := w.objects.Create(w.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade",
		"metadata": map[string]any{"name": name}, "spec": spec}}, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return object
}

// patch merges a patch into an object.
func (w *world) patch(name string, patch any, subresources ...string) {
	w.Helper()
	text, err := json.Marshal(patch)
	if err == nil {
		_, err = w.objects.Patch(w.Context(), name, types.MergePatchType, text, metav1.PatchOptions{}, subresources...)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// image changes the migrations image of an object.
func (w *world) image(name, tag string) {
	w.Helper()
	w.patch(name, map[string]any{"spec": map[string]any{"migrations": map[string]any{"image": image(tag)}}})
}

// retry sets the retry annotation, or removes it.
func (w *world) retry(name string, value any) {
	w.Helper()
	w.patch(name, map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		"dbupgrade.subbug.learning/retry": value}}})
}

func (w *world) get(name string) *unstructured.Unstructured {
	w.Helper()
	object, err := w.objects.Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return object
}

func message(object *unstructured.Unstructured) string {
	return harness.Text(object, "status", "message")
}

// await waits until the object is in a situation, for its newest generation, and returns it.
func (w *world) await(name, want string, inMessage ...string) *unstructured.Unstructured {
	w.Helper()
	var object *unstructured.Unstructured
	harness.Eventually(w, harness.Patience, name, func() error {
		object = w.get(name)
		generation, _, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
		if got := harness.Conditions(object); got != want || generation != object.GetGeneration() {
			return fmt.Errorf("generation %d of %d\nwant %s\ngot  %s\nmessage: %s",
				generation, object.GetGeneration(), want, got, message(object))
		}
		for _, part := range inMessage {
			if !strings.Contains(message(object), part) {
				return fmt.Errorf("%q is not in the message: %s", part, message(object))
			}
		}
		return nil
	})
	w.checkStatus(object)
	return object
}

// checkStatus checks what is true of every status.
func (w *world) checkStatus(object *unstructured.Unstructured) {
	w.Helper()
	list, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, item := range list {
		c := item.(map[string]any)
		if c["type"] == "Custom" { // another controller's
			continue
		}
		if c["observedGeneration"] != object.GetGeneration() {
			w.Errorf("condition %s: observedGeneration %v of generation %d", c["type"], c["observedGeneration"], object.GetGeneration())
		}
		if c["type"] == "Ready" && c["status"] != "True" && c["message"] != message(object) {
			w.Errorf("Ready says %q, the status %q", c["message"], message(object))
		}
	}
	if all, _ := json.Marshal(object.Object["status"]); strings.Contains(string(all), password) {
		w.Error("the password is in the status")
	}
}

// gone waits until an object is gone.
func (w *world) gone(name string) {
	w.Helper()
	harness.Eventually(w, harness.Patience, name+" is gone", func() error {
		_, err := w.objects.Get(w.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("GET: %v", err)
	})
}

// awaitRun waits until a migration runs and returns its Job's name.
func (w *world) awaitRun(name, tag string) string {
	w.Helper()
	harness.Eventually(w, harness.Patience, tag+" runs", func() error {
		if ran := w.kubelet.Ran(); len(ran) == 0 || ran[len(ran)-1] != tag {
			return fmt.Errorf("ran: %v; %s", ran, message(w.get(name)))
		}
		return nil
	})
	object := w.await(name, running)
	return harness.Text(object, "status", "jobName")
}

func (w *world) deleteJob(name string, policy metav1.DeletionPropagation) {
	w.Helper()
	err := cluster.Client.BatchV1().Jobs(w.ns).Delete(w.Context(), name, metav1.DeleteOptions{PropagationPolicy: &policy})
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) jobGone(name string) {
	w.Helper()
	harness.Eventually(w, harness.Patience, "Job "+name+" is gone", func() error {
		_, err := cluster.Client.BatchV1().Jobs(w.ns).Get(w.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("GET: %v", err)
	})
}

func (w *world) delete(name string, policy metav1.DeletionPropagation) {
	w.Helper()
	if err := w.objects.Delete(w.Context(), name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		w.Fatal(err)
	}
}

// wantEvents waits for exactly these events about an object, each "Type Reason: how often".
func (w *world) wantEvents(name string, want map[string]int) {
	w.Helper()
	harness.Eventually(w, harness.Patience, "events", func() error {
		list, err := cluster.Client.EventsV1().Events(w.ns).List(w.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		got := map[string]int{}
		for _, e := range list.Items {
			if e.Regarding.Name == name && e.Regarding.Kind == "DBUpgrade" {
				got[e.Type+" "+e.Reason]++
			}
			if strings.Contains(e.Note, password) {
				w.Error("the password is in an event")
			}
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("want %v, got %v", want, got)
		}
		return nil
	})
}
