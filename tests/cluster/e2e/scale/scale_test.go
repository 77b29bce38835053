// SPDX-License-Identifier: Apache-2.0

//go:build bench

// Package scale measures one reconciler on a real control plane: what objects cost, how quickly
// migrations start and end. It prints rows of a Markdown table; nothing here passes or fails by a
// time.
//
//	SCALE_OBJECTS   finished objects for the memory's row; default 10000
//	SCALE_FOREIGN   foreign Jobs, Pods and Secrets beside them; default 10000
//	SCALE_STARTED   migrations that start together; default 500
package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m, &cluster, (*harness.Cluster).InstallRights, (*harness.Cluster).KubeletNode))
}

func number(t *testing.T, variable string, otherwise int) int {
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

func put(what, figure string, args ...any) {
	fmt.Printf("| %s | %s |\n", what, fmt.Sprintf(figure, args...))
}

// in runs n calls, 32 at a time: etcd writes what comes together in one go.
func in(t *testing.T, n int, call func(i int) error) {
	t.Helper()
	var group sync.WaitGroup
	var next atomic.Int64
	for range 32 {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := call(int(i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func upgrade(name, tag string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade",
		"metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"migrations": map[string]any{"image": "shop/migrations:" + tag},
			"database": map[string]any{"type": "selfHosted", "connection": map[string]any{
				"urlSecretRef": map[string]any{"name": "db", "key": "url"}}}}}}
}

func secret(t *testing.T, ns string) {
	t.Helper()
	_, err := cluster.Client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "db"}, StringData: map[string]string{"url": "postgres://db/app"}},
		metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// reconciler is one with its metrics.
type reconciler struct {
	*harness.Process
	metrics string // URL
}

func start(t *testing.T) *reconciler {
	t.Helper()
	port := rand.IntnRange(20000, 30000)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	r := &reconciler{harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, "", nil),
		"--metrics-bind-address="+address, "--log-level=info"), "http://" + address + "/metrics"}
	return r
}

// metric sums the series of a metric whose labels contain a text.
func (r *reconciler) metric(t *testing.T, name, labels string) float64 {
	t.Helper()
	response, err := http.Get(r.metrics)
	if err != nil {
		return -1
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if base, rest, _ := strings.Cut(series, "{"); base == name && strings.Contains(rest, labels) {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += v
		}
	}
	return sum
}

func (r *reconciler) memory(t *testing.T) (rss, private int) {
	t.Helper()
	return harness.Memory(t, r.Pid(), "Rss"), harness.Memory(t, r.Pid(), "Private_Dirty")
}

func (r *reconciler) awaitState(t *testing.T, state string, n int) {
	t.Helper()
	harness.Eventually(t, 20*time.Minute, state, func() error {
		if got := r.metric(t, "dbupgrade_objects", state); int(got) != n {
			time.Sleep(100 * time.Millisecond)
			return fmt.Errorf("%v of %d", got, n)
		}
		return nil
	})
}

// namespace makes one in which Pods are admitted.
func namespace(t *testing.T) string {
	t.Helper()
	ns := cluster.Namespace(t)
	harness.Eventually(t, time.Minute, "the service account", func() error {
		_, err := cluster.Client.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	return ns
}

// finished is the status that a reconciler left when it was done with an upgrade; the keys in it
// depend on the spec alone.
func finished(t *testing.T) map[string]any {
	t.Helper()
	ns := namespace(t)
	cluster.NewKubelet(t, ns)
	secret(t, ns)
	r := harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, "", nil), "--namespace="+ns)
	objects := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns)
	if _, err := objects.Create(t.Context(), upgrade("f", "ok"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var status map[string]any
	harness.Eventually(t, time.Minute, "one is done", func() error {
		object, err := objects.Get(t.Context(), "f", metav1.GetOptions{})
		if err != nil || harness.Text(object, "status", "reason") != "MigrationComplete" {
			return fmt.Errorf("not yet: %w", err)
		}
		status, _, err = unstructured.NestedMap(object.Object, "status")
		return err
	})
	r.Stop(t)
	return status
}

// finish makes objects that have been done for long: their Jobs are gone.
func finish(t *testing.T, objects dynamic.ResourceInterface, status map[string]any, first, n int) {
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		t.Fatal(err)
	}
	in(t, n, func(i int) error {
		name := fmt.Sprint("f", first+i)
		if _, err := objects.Create(t.Context(), upgrade(name, "ok"), metav1.CreateOptions{}); err != nil {
			return err
		}
		_, err := objects.Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
		return err
	})
}

func foreign(t *testing.T, ns string, n int) {
	suspend := true
	in(t, n, func(i int) error {
		meta := metav1.ObjectMeta{Name: fmt.Sprint("x", i)}
		pod := corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "x"}}}
		_, err := cluster.Client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: meta,
			StringData: map[string]string{"k": strings.Repeat("x", 1000)}}, metav1.CreateOptions{})
		if err == nil {
			_, err = cluster.Client.BatchV1().Jobs(ns).Create(t.Context(), &batchv1.Job{ObjectMeta: meta,
				Spec: batchv1.JobSpec{Suspend: &suspend, Template: corev1.PodTemplateSpec{Spec: pod}}}, metav1.CreateOptions{})
		}
		if err == nil {
			_, err = cluster.Client.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{ObjectMeta: meta, Spec: pod}, metav1.CreateOptions{})
		}
		return err
	})
}

func TestFinishedObjects(t *testing.T) {
	n, others := number(t, "SCALE_OBJECTS", 10000), number(t, "SCALE_FOREIGN", 10000)
	ns := namespace(t)
	objects := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns)
	status := finished(t)
	have := 0
	for _, count := range []int{0, 1000, n} {
		finish(t, objects, status, have, count-have)
		have = count
		if count == n {
			foreign(t, ns, others)
		}
		want := succeeded(t)
		begin := time.Now()
		r := start(t)
		r.awaitState(t, "Succeeded", want)
		synced := time.Since(begin)
		what := fmt.Sprintf("%d finished objects", count)
		if count == n {
			what += fmt.Sprintf(", %d foreign Jobs, Pods and Secrets", others)
		}
		rss, private := r.memory(t)
		put(what+": RSS, private dirty", "%.1f MB, %.1f MB", float64(rss)/1000, float64(private)/1000)
		put("… from exec until all are known, CPU time for that", "%v, %v", synced.Round(time.Millisecond), r.CPU(t))
		requests, cpu := r.metric(t, "rest_client_requests_total", ""), r.CPU(t)
		time.Sleep(10 * time.Second)
		put("… requests, CPU time in 10 s without a change", "%.0f, %v",
			r.metric(t, "rest_client_requests_total", "")-requests, r.CPU(t)-cpu)
		r.Stop(t)
	}
}

func TestLatency(t *testing.T) {
	ns := namespace(t)
	cluster.NewKubelet(t, ns)
	secret(t, ns)
	want := succeeded(t)
	start(t).awaitState(t, "Succeeded", want)
	const n = 20
	created, jobs, completed, ready := times{}, times{}, times{}, times{}
	watch(t, ns, jobs.note, completed.note, ready.note)
	objects := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns)
	for i := range n {
		name := fmt.Sprint("l", i)
		if _, err := objects.Create(t.Context(), upgrade(name, "ok"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		created.note(name)
		ready.await(t, name)
	}
	put("object created → Job created, median and slowest of 20", "%s", between(&created, &jobs))
	put("Job complete → Ready, median and slowest of 20", "%s", between(&completed, &ready))
}

// times notes when something was first seen of each name.
type times struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (s *times) note(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = map[string]time.Time{}
	}
	if s.at[name].IsZero() {
		s.at[name] = time.Now()
	}
}

func (s *times) await(t *testing.T, name string) {
	t.Helper()
	harness.Eventually(t, 20*time.Minute, name, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.at[name].IsZero() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

func between(from, to *times) string {
	var list []time.Duration
	for name, at := range to.at {
		list = append(list, at.Sub(from.at[name]))
	}
	slices.Sort(list)
	return fmt.Sprintf("%v, %v", list[len(list)/2].Round(time.Millisecond/10), list[len(list)-1].Round(time.Millisecond/10))
}

// watch calls for each Job that appears, each that completes and each object that becomes Ready.
func watch(t *testing.T, ns string, appeared, completed, ready func(name string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	jobs := informers.NewSharedInformerFactoryWithOptions(cluster.Client, 0, informers.WithNamespace(ns))
	seeJob := func(object any) {
		job := object.(*batchv1.Job)
		name := job.Labels["dbupgrade.subbug.learning/name"]
		appeared(name)
		for _, c := range job.Status.Conditions {
			if c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue {
				completed(name)
			}
		}
	}
	_, _ = jobs.Batch().V1().Jobs().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: seeJob, UpdateFunc: func(_, object any) { seeJob(object) }})
	objects := dynamicinformer.NewFilteredDynamicSharedInformerFactory(cluster.Dynamic, 0, ns, nil)
	seeObject := func(_, object any) {
		u := object.(*unstructured.Unstructured)
		if reason, _, _ := unstructured.NestedString(u.Object, "status", "reason"); reason == "MigrationComplete" {
			ready(u.GetName())
		}
	}
	_, _ = objects.ForResource(harness.DBUpgrades).Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: seeObject})
	jobs.Start(ctx.Done())
	objects.Start(ctx.Done())
	jobs.WaitForCacheSync(ctx.Done())
	objects.WaitForCacheSync(ctx.Done())
}

func TestManyStartTogether(t *testing.T) {
	n := number(t, "SCALE_STARTED", 500)
	ns := namespace(t)
	objects := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns)
	in(t, n, func(i int) error {
		_, err := objects.Create(t.Context(), upgrade(fmt.Sprint("s", i), "wait"), metav1.CreateOptions{})
		return err
	})
	secret(t, ns)
	created := times{}
	watch(t, ns, created.note, func(string) {}, func(string) {})
	begin := time.Now()
	r := start(t)
	harness.Eventually(t, 20*time.Minute, "all Jobs are there", func() error {
		created.mu.Lock()
		defer created.mu.Unlock()
		if len(created.at) < n {
			return fmt.Errorf("%d of %d", len(created.at), n)
		}
		return nil
	})
	r.awaitState(t, "Running", n)
	all := time.Since(begin)
	rss, private := r.memory(t)
	put(fmt.Sprintf("%d objects at once: until all run", n), "%v", all.Round(time.Millisecond*10))
	put("… CPU time of the reconciler an object", "%v", (r.CPU(t) / time.Duration(n)).Round(time.Microsecond))
	put("… requests an object", "%.1f", r.metric(t, "rest_client_requests_total", "")/float64(n))
	put("… RSS, private dirty", "%.1f MB, %.1f MB", float64(rss)/1000, float64(private)/1000)
}

// succeeded counts the objects that are done, in all namespaces.
func succeeded(t *testing.T) int {
	t.Helper()
	done := 0
	for _, o := range all(t) {
		if harness.Text(&o, "status", "reason") == "MigrationComplete" {
			done++
		}
	}
	return done
}

func all(t *testing.T) []unstructured.Unstructured {
	t.Helper()
	list, err := cluster.Dynamic.Resource(harness.DBUpgrades).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}
