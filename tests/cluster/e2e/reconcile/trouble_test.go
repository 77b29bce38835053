// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dbupgrade/tests/cluster/e2e/harness"
)

// awaitRuns waits until exactly these migrations have started.
func (w *world) awaitRuns(tags ...string) {
	w.Helper()
	harness.Eventually(w, harness.Patience, fmt.Sprint(tags), func() error {
		if got := w.kubelet.Ran(); !slices.Equal(got, tags) {
			return errf("ran: %v", got)
		}
		return nil
	})
}

func (w *world) quota(of string, hard string) {
	w.Helper()
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "limits"}, Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{corev1.ResourceName(of): resource.MustParse(hard)}}}
	if _, err := cluster.Client.CoreV1().ResourceQuotas(w.ns).Create(w.Context(), quota, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	harness.Eventually(w, harness.Patience, "the quota counts", func() error {
		now, err := cluster.Client.CoreV1().ResourceQuotas(w.ns).Get(w.Context(), "limits", metav1.GetOptions{})
		if err == nil && len(now.Status.Used) == 0 {
			err = errf("not yet")
		}
		return err
	})
}

func (w *world) liftQuota() {
	w.Helper()
	if err := cluster.Client.CoreV1().ResourceQuotas(w.ns).Delete(w.Context(), "limits", metav1.DeleteOptions{}); err != nil {
		w.Fatal(err)
	}
}

func TestAQuotaRefusesTheJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.quota("count/jobs.batch", "0")
	w.start()
	w.create("shop", specOf("ok-1"))
	w.await("shop", rejected, "exceeded quota: limits")
	w.liftQuota()
	w.await("shop", done)
	w.wantRuns("ok-1")
}

func TestAQuotaRefusesThePod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.quota("pods", "0")
	w.start()
	w.create("shop", specOf("ok-1"))
	object := w.await("shop", running, "exceeded quota: limits")
	if got := harness.Text(object, "status", "reason"); got != "FailedCreate" {
		t.Errorf("status.reason: %s", got)
	}
	w.image("shop", "ok-2") // no container has started: superseded
	harness.Eventually(w, harness.Patience, "superseded", func() error {
		if got := harness.History(w.get("shop")); len(got) == 0 || got[0] != "Superseded" {
			return errf("history: %v", got)
		}
		return nil
	})
	w.liftQuota()
	w.await("shop", done)
	w.wantRuns("ok-2")
}

func TestTheJobIsRefusedForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	// A misspelt member of a toleration: for the CRD an unknown field, for the Jobs API an error.
	w.create("shop", specOf("ok-1", set([]any{map[string]any{"key": "db", "operater": "Exists"}}, "runner", "tolerations")))
	w.await("shop", refused, "operater")
	w.settle()
	w.wantJobs(0, 0)
	w.patch("shop", map[string]any{"spec": map[string]any{"runner": map[string]any{"tolerations": nil}}})
	w.await("shop", done)
}

func TestAForeignJobHasOurName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	playForeignJob(w)
	w.await("shop", conflict, "dbupgrade-shop-")
	w.settle()
	jobs, err := cluster.Client.BatchV1().Jobs(w.ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(jobs.Items) != 1 || len(jobs.Items[0].OwnerReferences) != 0 || jobs.Items[0].Labels["mine"] != "yes" {
		t.Errorf("the foreign Job: %v %+v", err, jobs)
	}
	w.deleteJob(jobs.Items[0].Name, metav1.DeletePropagationBackground)
	w.await("shop", done)
	w.wantRuns("ok-1")
}

// playForeignJob lets somebody else be quicker to use the name of the Job of "shop".
func playForeignJob(w *world) {
	w.db()
	proxy := cluster.NewProxy(w)
	var once sync.Once
	proxy.Before = func(e *harness.Exchange) bool {
		if e.Method == "POST" && strings.Contains(e.URL, "/jobs") {
			once.Do(func() { w.foreignJob(e.Body) })
		}
		return true
	}
	w.startBehind(proxy)
	w.create("shop", specOf("ok-1"))
}

// foreignJob makes a Job with the name of the one that is about to be posted.
func (w *world) foreignJob(posted []byte) {
	var job batchv1.Job
	if err := json.Unmarshal(posted, &job); err != nil {
		w.Error(err)
		return
	}
	suspend := true
	job = batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: job.Name, Labels: map[string]string{"mine": "yes"}},
		Spec: batchv1.JobSpec{Suspend: &suspend, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "x:wait"}}}}}}
	if _, err := cluster.Client.BatchV1().Jobs(w.ns).Create(w.Context(), &job, metav1.CreateOptions{}); err != nil {
		w.Error(err)
	}
}

// What the CRD takes and the webhook would not: more than 16 KiB.
func TestTheSpecIsInvalid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	large := map[string]any{"a": strings.Repeat("x", 16<<10)}
	w.create("shop", specOf("ok-1", set(large, "runner", "podAnnotations")))
	w.await("shop", invalid, "podAnnotations")
	w.settle()
	w.wantJobs(0, 0)
	w.patch("shop", map[string]any{"spec": map[string]any{"runner": nil}})
	w.await("shop", done)
	w.image("shop", "hang-2")
	w.awaitRun("shop", "hang-2")
	w.patch("shop", map[string]any{"spec": map[string]any{"runner": map[string]any{"podAnnotations": large}}})
	w.await("shop", invalidBusy)
	w.kubelet.Finish("hang-2", 0)
	w.await("shop", invalid, "podAnnotations")
	w.patch("shop", map[string]any{"spec": map[string]any{"runner": nil}})
	w.await("shop", done)
	w.wantRuns("ok-1", "hang-2")
}

// With the right to one thing taken away, the status names verb and resource.
func TestARightIsMissing(t *testing.T) {
	t.Parallel()
	for _, r := range []struct{ verb, resource string }{{"get", "secrets"}, {"create", "jobs"}} {
		t.Run(r.verb+" "+r.resource, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.db()
			kubeconfig, grant := w.poorAccount(r.verb, r.resource)
			harness.StartReconciler(t, kubeconfig, "--namespace="+w.ns)
			w.create("shop", specOf("ok-1"))
			w.await("shop", forbidden, r.verb, r.resource)
			w.wantJobs(0, 0)
			grant()
			// Looked at again only every 5 minutes, or when something changes.
			w.patch("shop", map[string]any{"metadata": map[string]any{"labels": map[string]any{"touched": "yes"}}})
			w.await("shop", done)
		})
	}
}

// Nothing runs that could not be recorded. The status cannot say why; an event does.
func TestTheStatusCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	kubeconfig, grant := w.poorAccount("patch", "dbupgrades/status")
	harness.StartReconciler(t, kubeconfig, "--namespace="+w.ns)
	w.create("shop", specOf("ok-1"))
	harness.Eventually(t, harness.Patience, "an event says why", func() error {
		for _, e := range w.events("shop") {
			if e.Reason == "Forbidden" && e.Type == "Warning" && strings.Contains(e.Note, `cannot patch resource "dbupgrades/status"`) {
				return nil
			}
		}
		return fmt.Errorf("events: %v", reasons(w.events("shop")))
	})
	w.wantJobs(1, 0)
	grant()
	// Looked at again only every 5 minutes, or when something changes.
	w.patch("shop", map[string]any{"metadata": map[string]any{"labels": map[string]any{"touched": "yes"}}})
	w.await("shop", done)
}

// poorAccount makes a service account with the shipped role less one right, for this namespace, and
// a function that grants it.
func (w *world) poorAccount(verb, resource string) (kubeconfig string, grant func()) {
	w.Helper()
	rbac := cluster.Client.RbacV1()
	shipped, err := rbac.ClusterRoles().Get(w.Context(), "dbupgrade-reconciler", metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	poor := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "poor"}}
	taken := authorizationv1.ResourceAttributes{Namespace: w.ns, Verb: verb}
	taken.Resource, taken.Subresource, _ = strings.Cut(resource, "/")
	for _, rule := range shipped.Rules {
		if slices.Contains(rule.Resources, resource) {
			taken.Group = rule.APIGroups[0]
			rule.Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(v string) bool { return v == verb })
		}
		if len(rule.Verbs) > 0 {
			poor.Rules = append(poor.Rules, rule)
		}
	}
	if _, err := rbac.Roles(w.ns).Create(w.Context(), poor, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	if _, err := rbac.RoleBindings(w.ns).Create(w.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "poor"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "poor"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "default", Namespace: w.ns}}}, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	return cluster.AccountKubeconfig(w, w.ns, "default", "", nil), func() {
		poor.Rules = shipped.Rules
		if _, err := rbac.Roles(w.ns).Update(w.Context(), poor, metav1.UpdateOptions{}); err != nil {
			w.Fatal(err)
		}
		cluster.AwaitRight(w, "system:serviceaccount:"+w.ns+":default", true, taken)
	}
}

// Two that both believe to lead: nothing runs twice, nothing is lost.
func TestTwoReconcilersRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	// They overtake each other: that a write comes too late is worth a word in the log.
	w.startCareless()
	w.startCareless()
	names := strings.Fields("a b c d e f g h")
	for _, name := range names {
		w.create(name, specOf("ok-"+name+"1"))
	}
	want := []string{}
	for _, name := range names {
		w.await(name, done)
		w.image(name, "fail-"+name+"2")
	}
	for _, name := range names {
		w.await(name, failed)
		w.image(name, "typo-"+name+"3")
	}
	for _, name := range names {
		w.await(name, running, "ImagePullBackOff")
		w.image(name, "ok-"+name+"4")
	}
	for _, name := range names {
		w.await(name, done)
		want = append(want, "ok-"+name+"1", "fail-"+name+"2", "ok-"+name+"4")
	}
	got := w.kubelet.Ran()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("migrations that ran: want %v, got %v", want, got)
	}
	for _, name := range names {
		w.wantEvents(name, map[string]int{"Normal MigrationStarted": 4, "Normal MigrationInProgress": 3,
			"Normal MigrationSucceeded": 2, "Warning MigrationFailed": 1})
	}
}
