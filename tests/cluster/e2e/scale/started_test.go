// SPDX-License-Identifier: Apache-2.0

//go:build bench

package scale

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"dbupgrade/tests/cluster/e2e/figures"
	"dbupgrade/tests/cluster/e2e/harness"
)

const migrations = 20

func TestLatency(t *testing.T) {
	ns := namespace(t)
	cluster.NewKubelet(t, ns)
	secret(t, ns, "db")
	quiet(t)
	r := start(t)
	r.settled(t, 0)
	idle(t, r)
	created, jobs, completed, ready := times{}, times{}, times{}, times{}
	watch(t, ns, jobs.note, completed.note, ready.note)
	requests := r.requests()
	for i := range migrations {
		name := fmt.Sprint("l", i)
		created.note(name)
		create(t, ns, upgrade(name, "ok", "db"))
		ready.await(t, name)
	}
	idle(t, r) // the last events
	how := fmt.Sprintf("`./scale` TestLatency, %d one after another", migrations)
	figures.Row("reconciler: object sent to the API server → its Job seen, median and slowest", "", how, "%s", between(&created, &jobs))
	figures.Row("reconciler: Job seen complete → object seen Ready, median and slowest", "100 ms", how, "%s", between(&completed, &ready))
	figures.Row("reconciler: API requests of a migration, all of it", "11", how, "%.1f", float64(r.requests()-requests)/migrations)
	r.Stop(t) // gives the Lease back: the next one starts at once
}

// TestSecret: the operator may not watch Secrets; it asks for a missing one after 1, 2, 4 ... s.
func TestSecret(t *testing.T) {
	ns := namespace(t)
	cluster.NewKubelet(t, ns)
	quiet(t)
	r := start(t)
	r.settled(t, 0)
	created, jobs := times{}, times{}
	watch(t, ns, jobs.note, func(string) {}, func(string) {})
	for i := range migrations {
		name := fmt.Sprint("n", i)
		create(t, ns, upgrade(name, "ok", name))
		harness.Eventually(t, time.Minute, "the Secret is missed", func() error {
			object, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns).Get(t.Context(), name, metav1.GetOptions{})
			if err == nil && harness.Text(object, "status", "reason") != "SecretNotFound" {
				err = fmt.Errorf("not yet")
			}
			return err
		})
		created.note(name)
		secret(t, ns, name)
		jobs.await(t, name)
	}
	figures.Row("reconciler: Secret that was missed is sent → Job seen, median and slowest", "the next look: 1 s after the first",
		fmt.Sprintf("`./scale` TestSecret, %d one after another", migrations), "%s", between(&created, &jobs))
	r.Stop(t)
}

func create(t *testing.T, ns string, object *unstructured.Unstructured) {
	t.Helper()
	_, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns).Create(t.Context(), object, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// idle waits until a reconciler has sent no request for 2 s.
func idle(t *testing.T, r *reconciler) {
	t.Helper()
	harness.Eventually(t, time.Minute, "no request is sent", func() error {
		before := r.requests()
		time.Sleep(2 * time.Second)
		if now := r.requests(); now != before {
			return fmt.Errorf("%d requests", now-before)
		}
		return nil
	})
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

func (s *times) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
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

// servers is the processor time that API server and etcd have used.
func servers(t *testing.T) time.Duration {
	t.Helper()
	return harness.CPU(t, cluster.Pid(t, "kube-apiserver")) + harness.CPU(t, cluster.Pid(t, "etcd"))
}

func TestManyStartTogether(t *testing.T) {
	n := figures.Size(t, "SCALE_STARTED", 500)
	ns := namespace(t)
	objects := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns)
	in(t, n, func(i int) error {
		_, err := objects.Create(t.Context(), upgrade(fmt.Sprint("s", i), "wait", "db"), metav1.CreateOptions{})
		return err
	})
	secret(t, ns, "db")
	created := times{}
	watch(t, ns, created.note, func(string) {}, func(string) {})
	quiet(t)
	before := servers(t)
	r := start(t)
	harness.Eventually(t, 20*time.Minute, "all run", func() error {
		if jobs, running := created.count(), r.metric(`dbupgrade_objects{state="Running"`); jobs < n || running < n {
			return fmt.Errorf("%d Jobs, %d running of %d", jobs, running, n)
		}
		return nil
	})
	all := time.Since(r.begin)
	rss, private, _ := r.memory(t)
	how := "`./scale` TestManyStartTogether"
	figures.Row(fmt.Sprintf("reconciler: %d objects start together: Jobs a second, from exec until all run", n), "the API server's limit", how,
		"%.0f, %v", float64(n)/all.Seconds(), all.Round(10*time.Millisecond))
	figures.Row("… processor time of the reconciler, of API server and etcd, an object", "", "likewise", "%v, %v",
		(r.CPU(t) / time.Duration(n)).Round(10*time.Microsecond), ((servers(t) - before) / time.Duration(n)).Round(10*time.Microsecond))
	figures.Row("… API requests an object until it runs", "", "likewise", "%.1f", float64(r.requests())/float64(n))
	figures.Row("… RSS, private dirty", "", "likewise", "%.1f MB, %.1f MB", rss, private)
}
