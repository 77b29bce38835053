// SPDX-License-Identifier: Apache-2.0

// Package leader judges leader election between reconcilers, and between one and client-go.
package leader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

var webhooks = harness.Root("manifests", "base", "webhook-configurations.yaml")

func TestMain(m *testing.M) {
	os.Exit(harness.RunAudited(m, &cluster, (*harness.Cluster).InstallRights, (*harness.Cluster).KubeletNode))
}

const (
	lease = "dbupgrade-controller-manager.subbug.learning"

	// A candidate looks at least once a second, and begins when it has seen no change for the 15 s of
	// a lease: 16 s after a renewal, that is, after the last thing that a leader has done in time.
	takeover = 16 * time.Second
	// What a busy machine may add to it: to the requests, and to the tests' own looks.
	slack = 4 * time.Second
)

// rig is a namespace of migrations. The tests share the one Lease that the roles allow, so they run
// one after the other.
type rig struct {
	*testing.T
	ns      string
	kubelet *harness.Kubelet
}

func newRig(t *testing.T) *rig {
	t.Helper()
	err := cluster.Client.CoordinationV1().Leases(harness.SystemNamespace).Delete(t.Context(), lease, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	r := &rig{T: t, ns: cluster.Namespace(t)}
	r.kubelet = cluster.NewKubelet(t, r.ns)
	harness.Eventually(t, harness.Patience, "the default service account", func() error {
		_, err := cluster.Client.CoreV1().ServiceAccounts(r.ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	_, err = cluster.Client.CoreV1().Secrets(r.ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "db"}, StringData: map[string]string{"url": "postgres://db/app"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) start(proxy *harness.Proxy, name string, args ...string) *harness.Process {
	r.Helper()
	server, ca := "", []byte(nil)
	if proxy != nil {
		server, ca = proxy.URL, proxy.CA
	}
	return harness.StartReconciler(r, cluster.ReconcilerKubeconfig(r, server, ca), append([]string{"--namespace=" + r.ns,
		"--leader-elect", "--operator-namespace=" + harness.SystemNamespace, "--pod-name=" + name}, args...)...)
}

// startSecond starts another one beside a leader, and waits until it has seen the Lease: it counts its
// 15 s from then. A leader does not read it.
func (r *rig) startSecond(name string) {
	r.Helper()
	reads := func() (n int) {
		for _, q := range harness.Audit(r) {
			if q.Verb == "get" && q.Resource == "leases" {
				n++
			}
		}
		return n
	}
	before := reads()
	r.start(nil, name)
	harness.Eventually(r, harness.Patience, name+" has seen the Lease", func() error {
		if reads() == before {
			return errors.New("not yet")
		}
		return nil
	})
}

// status is what leader_election_master_status says of the process whose metrics are on a port.
func (r *rig) status(port int) float64 {
	r.Helper()
	var value float64
	harness.Eventually(r, harness.Patience, "leader_election_master_status", func() (err error) {
		value, err = harness.Metric(port, "leader_election_master_status")
		return err
	})
	return value
}

func get(t *testing.T) *coordinationv1.Lease {
	t.Helper()
	l, err := cluster.Client.CoordinationV1().Leases(harness.SystemNamespace).Get(t.Context(), lease, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &coordinationv1.Lease{}
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func holder(t *testing.T) string {
	t.Helper()
	if l := get(t); l.Spec.HolderIdentity != nil {
		return *l.Spec.HolderIdentity
	}
	return ""
}

// awaitHolder waits until the Lease is held by who begins with a name, and says how long it took.
func (r *rig) awaitHolder(name string) time.Duration {
	r.Helper()
	begin := time.Now()
	harness.Eventually(r, harness.Patience, name+" leads", func() error {
		if got := holder(r.T); !strings.HasPrefix(got, name) {
			return fmt.Errorf("the holder is %q", got)
		}
		return nil
	})
	return time.Since(begin)
}

// awaitTakeover is awaitHolder for a leader that has just fallen silent.
func (r *rig) awaitTakeover(name string) time.Duration {
	r.Helper()
	taken := r.awaitHolder(name)
	r.Logf("taken over in %v", taken)
	if taken > takeover+slack {
		r.Errorf("nobody led for %v, want %v at most, and %v for a busy machine", taken, takeover, slack)
	}
	return taken
}

// migrates makes an object and waits until it is Ready.
func (r *rig) migrates(name string) {
	r.Helper()
	r.create(name, "ok-"+name)
	r.ready(name)
}

func (r *rig) create(name, tag string) {
	r.Helper()
	objects := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(r.ns)
	_, err := objects.Create(r.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"migrations": map[string]any{"image": "shop/migrations:" + tag},
			"database": map[string]any{"type": "selfHosted", "connection": map[string]any{"urlSecretRef": map[string]any{"name": "db", "key": "url"}}}},
	}}, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
}

// hangs makes an object that stays unfinished: there is always something to do for it.
func (r *rig) hangs(name string) {
	r.Helper()
	r.create(name, "typo-1")
}

func (r *rig) ready(name string) {
	r.Helper()
	harness.Eventually(r, harness.Patience, name, func() error {
		object, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(r.ns).Get(r.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if reason := harness.Text(object, "status", "reason"); reason != "MigrationComplete" {
			return fmt.Errorf("%s: %s", reason, harness.Text(object, "status", "message"))
		}
		return nil
	})
}

// oneJobEach checks that no migration has run twice.
func (r *rig) oneJobEach() {
	r.Helper()
	seen := map[string]bool{}
	for _, tag := range r.kubelet.Ran() {
		if seen[tag] {
			r.Errorf("%s has run twice: %v", tag, r.kubelet.Ran())
		}
		seen[tag] = true
	}
	jobs, err := cluster.Client.BatchV1().Jobs(r.ns).List(r.Context(), metav1.ListOptions{})
	if err != nil {
		r.Fatal(err)
	}
	byOwner := map[string]*batchv1.Job{}
	for _, job := range jobs.Items {
		owner := job.Labels["dbupgrade.subbug.learning/name"]
		if byOwner[owner] != nil {
			r.Errorf("two Jobs of %s", owner)
		}
		byOwner[owner] = &job
	}
}

func TestTheLeaderIsStopped(t *testing.T) {
	r := newRig(t)
	ports := []int{harness.FreePort(t), harness.FreePort(t)}
	a := r.start(nil, "a", fmt.Sprintf("--metrics-bind-address=127.0.0.1:%d", ports[0]))
	r.awaitHolder("a_")
	b := r.start(nil, "b", fmt.Sprintf("--metrics-bind-address=127.0.0.1:%d", ports[1]))
	r.migrates("one")
	if first, second := r.status(ports[0]), r.status(ports[1]); first != 1 || second != 0 {
		t.Errorf("leader_election_master_status: %v of the leader, %v of the other", first, second)
	}
	a.Stop(t)
	t.Logf("handed over in %v", r.awaitHolder("b_"))
	harness.Eventually(t, harness.Patience, "the metric of the new leader", func() error {
		if status := r.status(ports[1]); status != 1 {
			return fmt.Errorf("%v", status)
		}
		return nil
	})
	r.migrates("two")
	b.Stop(t)
	if got := holder(t); got != "" {
		t.Errorf("after the last has stopped the holder is %q", got)
	}
	if l := get(t); *l.Spec.LeaseTransitions < 1 {
		t.Errorf("transitions: %d", *l.Spec.LeaseTransitions)
	}
	r.oneJobEach()
}

func TestTheLeaderIsKilled(t *testing.T) {
	r := newRig(t)
	a := r.start(nil, "a")
	r.awaitHolder("a_")
	r.startSecond("b")
	r.migrates("one")
	a.Kill()
	r.awaitTakeover("b_")
	r.migrates("two")
	r.oneJobEach()
}

// A leader that slept through its time must not write when it wakes: neither what it was about to
// do, nor what has changed meanwhile, nor events, nor certificates.
func TestTheLeaderSleeps(t *testing.T) {
	r := newRig(t)
	cluster.Kubectl(t, "apply", "-f", webhooks)
	t.Cleanup(func() { cluster.Kubectl(t, "delete", "--ignore-not-found", "-f", webhooks) }) // nobody would answer
	proxy := cluster.NewProxy(t)
	a := r.start(proxy, "a", "--cert-mode=self-managed")
	r.awaitHolder("a_")
	r.startSecond("b")
	a.Signal(t, syscall.SIGSTOP)
	r.awaitTakeover("b_")
	cluster.Kubectl(t, "delete", "--ignore-not-found", "-f", webhooks) // for the objects of this test; b keeps no certificates
	r.migrates("one")
	r.hangs("hanging")
	cluster.Kubectl(t, "apply", "-f", webhooks) // without caBundle
	time.Sleep(15 * time.Second)                // 30 in all
	before := len(proxy.Exchanges())
	a.Signal(t, syscall.SIGCONT)
	if code := a.Wait(t, harness.Patience); code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, e := range proxy.Exchanges()[before:] {
		if e.Method != "GET" {
			t.Errorf("it has written: %v", &e)
		}
	}
	cluster.Kubectl(t, "delete", "--ignore-not-found", "-f", webhooks)
	r.migrates("two")
	if got := holder(t); !strings.HasPrefix(got, "b_") {
		t.Errorf("the holder is %q", got)
	}
	r.oneJobEach()
}

// A leader that cannot reach the API server ends before others begin.
func TestTheLeaderIsCutOff(t *testing.T) {
	r := newRig(t)
	proxy := cluster.NewProxy(t)
	var cut atomic.Bool
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	proxy.Before = func(*harness.Exchange) bool {
		if cut.Load() {
			<-hold // as when packets are dropped
			return false
		}
		return true
	}
	a := r.start(proxy, "a")
	r.awaitHolder("a_")
	r.startSecond("b")
	cut.Store(true)
	began := time.Now()
	ended := make(chan time.Duration, 1)
	go func() {
		for a.Running() {
			time.Sleep(20 * time.Millisecond)
		}
		ended <- time.Since(began)
	}()
	taken := r.awaitTakeover("b_")
	select {
	case at := <-ended:
		t.Logf("the old leader ended after %v, the new one began after %v", at, taken)
	default:
		t.Error("the old leader still runs when the new one begins")
	}
	r.migrates("one")
	r.oneJobEach()
}

// An API server that is there but does not answer: the kernel acknowledges in its place.
func TestTheAPIServerHangs(t *testing.T) {
	r := newRig(t)
	a := r.start(nil, "a")
	r.awaitHolder("a_")
	r.start(nil, "b")
	server, err := os.FindProcess(cluster.Pid(t, "kube-apiserver"))
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	code := a.Wait(t, harness.Patience)
	t.Logf("the leader ended after %v", time.Since(began))
	if err := server.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if code != 1 || !strings.Contains(a.Log(), "leader election lost") {
		t.Errorf("exit code %d", code)
	}
	t.Logf("the other one leads %v after the API server answers again", r.awaitHolder("b_"))
	r.migrates("one")
	r.oneJobEach()
}

// candidate runs client-go's leader election until cancelled.
func candidate(t *testing.T, ctx context.Context, name string) <-chan struct{} {
	t.Helper()
	leading := make(chan struct{})
	go leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Name: lease, Namespace: harness.SystemNamespace},
			Client: cluster.Client.CoordinationV1(), LockConfig: resourcelock.ResourceLockConfig{Identity: name}},
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { close(leading) }, OnStoppedLeading: func() {}},
	})
	return leading
}

// With client-go, as the earlier operator used it, in both directions.
func TestWithClientGo(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, stop := context.WithCancel(ctx)
	<-candidate(t, first, "go-1")
	a := r.start(nil, "a")
	time.Sleep(5 * time.Second)
	if got := holder(t); got != "go-1" {
		t.Fatalf("client-go's leader was robbed by %q", got)
	}
	stop()
	t.Logf("client-go released, taken over in %v", r.awaitHolder("a_"))
	r.migrates("one")
	leading := candidate(t, ctx, "go-2")
	time.Sleep(5 * time.Second)
	select {
	case <-leading:
		t.Fatal("client-go took the Lease from a leader that renews")
	default:
	}
	a.Kill()
	begin := time.Now()
	<-leading
	t.Logf("killed, client-go took over in %v", time.Since(begin))
	r.oneJobEach()
}
