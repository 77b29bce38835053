// SPDX-License-Identifier: Apache-2.0

//go:build bench

// Package scale measures one reconciler on a real control plane: what objects cost, how quickly
// migrations start and end. It prints rows of script/bench's table; nothing here passes or fails by
// a time.
//
//	SCALE_OBJECTS   finished objects of the largest row; default 10000
//	SCALE_FOREIGN   foreign Jobs, Pods and Secrets, each, in one more row; default 50000
//	SCALE_STARTED   migrations that start together; default 500
package scale

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"dbupgrade/tests/cluster/e2e/figures"
	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m, &cluster, (*harness.Cluster).InstallRights, (*harness.Cluster).KubeletNode))
}

func upgrade(name, tag, secretName string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade",
		"metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"migrations": map[string]any{"image": "shop/migrations:" + tag},
			"database": map[string]any{"type": "selfHosted", "connection": map[string]any{
				"urlSecretRef": map[string]any{"name": secretName, "key": "url"}}}}}}
}

func secret(t *testing.T, ns, name string) {
	t.Helper()
	_, err := cluster.Client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"url": "postgres://db/app"}},
		metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// reconciler is one with its metrics.
type reconciler struct {
	*harness.Process
	metrics, health int // ports
	begin           time.Time
}

func start(t *testing.T) *reconciler {
	t.Helper()
	kubeconfig := cluster.ReconcilerKubeconfig(t, "", nil)
	r := &reconciler{metrics: harness.FreePort(t), health: harness.FreePort(t), begin: time.Now()}
	r.Process = harness.StartReconciler(t, kubeconfig, fmt.Sprintf("--metrics-bind-address=127.0.0.1:%d", r.metrics),
		fmt.Sprintf("--health-probe-bind-address=127.0.0.1:%d", r.health), "--log-level=info")
	return r
}

// metric is 0 while there is none.
func (r *reconciler) metric(series string) int {
	value, _ := harness.Metric(r.metrics, series)
	return int(value)
}

func (r *reconciler) requests() int { return r.metric("rest_client_requests_total") }

// settled waits until the reconciler is ready and knows of so many finished objects, each of which it
// has settled then, and returns how long that took since its start.
func (r *reconciler) settled(t *testing.T, objects int) time.Duration {
	t.Helper()
	for deadline := r.begin.Add(5 * time.Minute); !r.ready() || r.metric(`dbupgrade_objects{state="Succeeded"`) < objects; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) || !r.Running() {
			t.Fatalf("%d objects are not known", objects)
		}
	}
	return time.Since(r.begin)
}

func (r *reconciler) ready() bool {
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", r.health))
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (r *reconciler) memory(t *testing.T) (rss, private, peak float64) {
	t.Helper()
	return megabytes(harness.Memory(t, r.Pid(), "Rss")), megabytes(harness.Memory(t, r.Pid(), "Private_Dirty")), megabytes(r.PeakMemory(t))
}

// megabytes are those of KiB.
func megabytes(kib int) float64 { return float64(kib) * 1024 / 1e6 }

// quiet waits until the control plane has digested what it was given: until its programs need less
// than a tenth of a processor.
func quiet(t *testing.T) {
	t.Helper()
	used := func() (sum time.Duration) {
		for _, program := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
			sum += harness.CPU(t, cluster.Pid(t, program))
		}
		return sum
	}
	harness.Eventually(t, 20*time.Minute, "the control plane is quiet", func() error {
		before := used()
		time.Sleep(2 * time.Second)
		if spent := used() - before; spent > 200*time.Millisecond {
			return fmt.Errorf("%v in 2 s", spent)
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

// finished makes an upgrade that a reconciler has taken to its end, and returns it as etcd has it.
// The object itself and its Job are gone then, as the Jobs of those that were done long ago.
func finished(t *testing.T, ns, name string) stored {
	t.Helper()
	cluster.NewKubelet(t, ns)
	secret(t, ns, "db")
	r := start(t)
	objects := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns)
	if _, err := objects.Create(t.Context(), upgrade(name, "ok", "db"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, time.Minute, "one is done", func() error {
		object, err := objects.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || harness.Text(object, "status", "reason") != "MigrationComplete" {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
	r.Stop(t)
	one := read(t, fmt.Sprintf("/registry/%s/%s/%s/%s", harness.DBUpgrades.Group, harness.DBUpgrades.Resource, ns, name))
	background := metav1.DeletePropagationBackground
	if err := objects.Delete(t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		t.Fatal(err)
	}
	return one
}

// foreign makes Jobs, Pods and Secrets that are nobody's business here.
func foreign(t *testing.T, ns string, n int) {
	t.Helper()
	suspend := true
	meta := metav1.ObjectMeta{Name: "x000000", Namespace: ns}
	pod := corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "x"}}}
	_, err := cluster.Client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: meta,
		StringData: map[string]string{"k": strings.Repeat("x", 1000)}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = cluster.Client.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{ObjectMeta: meta, Spec: pod}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = cluster.Client.BatchV1().Jobs(ns).Create(t.Context(), &batchv1.Job{ObjectMeta: meta,
		Spec: batchv1.JobSpec{Suspend: &suspend, Template: corev1.PodTemplateSpec{Spec: pod}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, time.Minute, "the Job is suspended", func() error {
		job, err := cluster.Client.BatchV1().Jobs(ns).Get(t.Context(), meta.Name, metav1.GetOptions{})
		if err == nil && len(job.Status.Conditions) == 0 {
			err = fmt.Errorf("no condition")
		}
		return err
	})
	for _, kind := range []string{"secrets", "pods", "jobs"} {
		read(t, fmt.Sprintf("/registry/%s/%s/%s", kind, ns, meta.Name)).copies(t, 1, n)
	}
}

// measured is a start beside some objects.
type measured struct{ objects, rss, private, peak, start float64 }

// startWith measures the start of a reconciler, and what it does when nothing changes.
func startWith(t *testing.T, objects int, what string) measured {
	t.Helper()
	quiet(t)
	r := start(t)
	synced := r.settled(t, objects)
	cpu := r.CPU(t)
	rss, private, peak := r.memory(t)
	figures.Row("reconciler, "+what+": RSS, private dirty, most RSS", "35 MB with 10,000", "`./scale` TestFinishedObjects",
		"%.1f MB, %.1f MB, %.1f MB", rss, private, peak)
	figures.Row("… from exec until all are known and settled; processor time of it", "", "likewise",
		"%v; %v", synced.Round(time.Millisecond), cpu.Round(time.Millisecond))
	if objects >= 1000 {
		figures.Row("… objects settled a second, a processor second", "", "likewise", "%.0f, %.0f",
			float64(objects)/synced.Seconds(), float64(objects)/cpu.Seconds())
		requests, before := r.requests(), r.CPU(t)
		time.Sleep(10 * time.Second)
		figures.Row("… API requests, processor time in 10 s without a change", "0, 0", "likewise", "%d, %v",
			r.requests()-requests, (r.CPU(t) - before).Round(100*time.Microsecond))
	}
	r.Stop(t)
	return measured{float64(objects), rss, private, peak, synced.Seconds()}
}

func TestFinishedObjects(t *testing.T) {
	n, others := figures.Size(t, "SCALE_OBJECTS", 10000), figures.Size(t, "SCALE_FOREIGN", 50000)
	ns := namespace(t)
	one := finished(t, ns, "f000000")
	var list []measured
	have := 0
	for _, count := range []int{0, 100, 1000, n} {
		if count < have || len(list) > 0 && count == have {
			continue
		}
		one.copies(t, have+1, count-have)
		have = count
		list = append(list, startWith(t, count, fmt.Sprintf("%d finished objects", count)))
	}
	last, before := list[len(list)-1], list[len(list)-2]
	figures.Row("reconciler: private memory of one finished object more", "1,500 bytes",
		fmt.Sprintf("`./scale` TestFinishedObjects, between %.0f and %.0f", before.objects, last.objects),
		"%.0f bytes", (last.private-before.private)*1e6/(last.objects-before.objects))
	if others > 0 {
		foreign(t, ns, others)
		startWith(t, have, fmt.Sprintf("%d finished objects beside %d foreign Jobs, Pods and Secrets, each", have, others))
	}
	var rows [][]float64
	for _, m := range list {
		rows = append(rows, []float64{m.objects, m.rss, m.private, m.start})
	}
	figures.Data(t, "reconciler", []string{"objects", "rss", "private", "start"}, rows)
}
