// SPDX-License-Identifier: Apache-2.0

// Package rights proves that the shipped roles are what the reconciler needs: enough, and nothing
// more. It plays what makes the reconciler use each right once, and compares what the API server has
// recorded with the roles. The API server is one that asks for all of them: it enforces
// OwnerReferencesPermissionEnforcement, and it streams no lists, as up to Kubernetes 1.31.
package rights

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

func TestMain(m *testing.M) {
	os.Setenv("APISERVER_FLAGS", "--enable-admission-plugins=OwnerReferencesPermissionEnforcement --feature-gates=WatchList=false")
	os.Exit(harness.RunAudited(m, &cluster, (*harness.Cluster).InstallRights, (*harness.Cluster).KubeletNode))
}

// right is one verb of one rule of one role.
type right struct {
	role, namespace string // namespace: that the role is in; "": a ClusterRole
	group, resource string // resource/subresource
	names           string // one of these only, separated by blanks
	verb            string
}

func (r right) String() string {
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s/%s %s (%s)", r.verb, r.group, r.resource, r.names, r.role)), " ")
}

func (r right) covers(q harness.AuditedRequest) bool {
	return r.verb == q.Verb && r.group == q.Group && r.resource == strings.TrimSuffix(q.Resource+"/"+q.Subresource, "/") &&
		(r.namespace == "" || r.namespace == q.Namespace) &&
		(r.names == "" || slices.Contains(strings.Fields(r.names), q.Name))
}

// needed says whether one of the requests would be refused without it.
func (r right) needed(requests []harness.AuditedRequest, all []right) bool {
	return slices.ContainsFunc(requests, func(q harness.AuditedRequest) bool {
		return r.covers(q) && !slices.ContainsFunc(all, func(other right) bool { return other != r && other.covers(q) })
	})
}

// exceptions are rights that no request shows by itself.
var exceptions = map[string]string{
	"update dbupgrade.subbug.learning/dbupgrades/finalizers (dbupgrade-reconciler)": "asked for by " +
		"OwnerReferencesPermissionEnforcement when a Job is created: TestFinalizers",
	"get /secrets dbupgrade-webhook-cert dbupgrade-webhook-ca (dbupgrade-certificates)": inOneNamespace,
	"create events.k8s.io/events (dbupgrade-certificates)":                              inOneNamespace,
}

const inOneNamespace = "the ClusterRole allows it too; where Roles take its place, nothing else does: TestRolesInsteadOfTheClusterRole"

// TestEachRightIsNeeded: take any of them away, and a request of this play is refused.
func TestEachRightIsNeeded(t *testing.T) {
	migrate(t)
	elect(t)
	certify(t)

	requests := harness.Audit(t)
	all := shipped(t)
	for _, r := range all {
		needed := r.needed(requests, all)
		reason := exceptions[r.String()]
		if needed && reason != "" {
			t.Errorf("%s: is no exception any more", r)
		}
		if !needed && reason == "" {
			t.Errorf("%s: nothing needs it", r)
		}
	}
	if len(all) < 20 {
		t.Errorf("only %d rights", len(all))
	}
}

// shipped are the rights of the reconciler's service account: of ClusterRoles, and of Roles in its own
// and other namespaces.
func shipped(t *testing.T, others ...string) (rights []right) {
	t.Helper()
	add := func(role, namespace string, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						rights = append(rights, right{role, namespace, group, resource, strings.Join(rule.ResourceNames, " "), verb})
					}
				}
			}
		}
	}
	rbac := cluster.Client.RbacV1()
	clusterRoles, err := rbac.ClusterRoles().List(t.Context(), metav1.ListOptions{LabelSelector: "!kubernetes.io/bootstrapping"})
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range clusterRoles.Items {
		if strings.HasPrefix(role.Name, "dbupgrade-") {
			add(role.Name, "", role.Rules)
		}
	}
	for _, ns := range append(others, harness.SystemNamespace) {
		roles, err := rbac.Roles(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range roles.Items {
			add(role.Name, role.Namespace, role.Rules)
		}
	}
	return rights
}

// --- The play ------------------------------------------------------------------

// migrate makes the reconciler do all that migrations can make it do.
func migrate(t *testing.T) {
	ns := newNamespace(t)
	kubelet := cluster.NewKubelet(t, ns)
	r := harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, "", nil))

	create(t, ns, "ok-1")
	await(t, ns, "True", "")
	image(t, ns, "typo-2")
	await(t, ns, "False", "ImagePullBackOff")
	image(t, ns, "hang-3") // the Job that never started is deleted
	await(t, ns, "False", "is running")
	deleteJobs(t, ns) // proved by a GET before it is called lost
	await(t, ns, "False", "")
	awaitReason(t, ns, "JobLost")
	leftOver(t, ns) // deleted after a GET of the object it would belong to
	image(t, ns, "ok-4")
	await(t, ns, "True", "")
	image(t, ns, "fail-5")
	awaitReason(t, ns, "MigrationFailed")
	if ran := kubelet.Ran(); !slices.Equal(ran, []string{"ok-1", "hang-3", "ok-4", "fail-5"}) {
		t.Errorf("ran: %v", ran)
	}

	refused := newNamespace(t) // its pods are: that is only said in an event
	cluster.Kubectl(t, "label", "namespace", refused, "pod-security.kubernetes.io/enforce=restricted")
	create(t, refused, "ok-1")
	await(t, refused, "False", "violates PodSecurity")

	again := newNamespace(t) // the same event once more is a series of the first
	if err := cluster.Client.CoreV1().Secrets(again).Delete(t.Context(), "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	create(t, again, "ok-1")
	awaitReason(t, again, "SecretNotFound")
	for range 2 {
		patch(t, again, `{"spec": {"suspend": true}}`)
		awaitReason(t, again, "Suspended")
		time.Sleep(1100 * time.Millisecond) // the times of conditions are in seconds
		patch(t, again, `{"spec": {"suspend": false}}`)
		awaitReason(t, again, "SecretNotFound")
	}
	r.Stop(t)
}

// elect makes two reconcilers run for leader.
func elect(t *testing.T) {
	start := func() *harness.Process {
		return harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, "", nil), "--leader-elect",
			"--operator-namespace="+harness.SystemNamespace)
	}
	first := start()
	seen(t, "create", "leases")
	second := start()
	seen(t, "update", "leases")
	first.Stop(t)
	second.Stop(t)
}

// certify makes it keep certificates of short lives.
func certify(t *testing.T) {
	cluster.Kubectl(t, "apply", "-f", harness.Root("manifests", "base", "webhook-configurations.yaml"))
	r := harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, "", nil), "--cert-mode=self-managed",
		"--operator-namespace="+harness.SystemNamespace, "--ca-lifetime=30s", "--cert-lifetime=30s", "--cert-propagation=1s")
	for _, kind := range []string{"validating", "mutating"} {
		seen(t, "patch", kind+"webhookconfigurations")
	}
	secrets := func(name string) {
		harness.Eventually(t, harness.Patience, "update of "+name, func() error {
			if !slices.ContainsFunc(harness.Audit(t), func(q harness.AuditedRequest) bool {
				return q.Verb == "update" && q.Resource == "secrets" && q.Name == name
			}) {
				return fmt.Errorf("not seen")
			}
			return nil
		})
	}
	secrets("dbupgrade-webhook-cert")
	secrets("dbupgrade-webhook-ca")
	r.Stop(t)
	cluster.Kubectl(t, "delete", "-f", harness.Root("manifests", "base", "webhook-configurations.yaml"))
}

// TestFinalizers: without the right to update finalizers, Jobs with an owner are refused here.
func TestFinalizers(t *testing.T) {
	ns := newNamespace(t)
	cluster.NewKubelet(t, ns)
	shipped, err := cluster.Client.RbacV1().ClusterRoles().Get(t.Context(), "dbupgrade-reconciler", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "poor"}}
	for _, rule := range shipped.Rules {
		if !slices.Contains(rule.Resources, "dbupgrades/finalizers") {
			role.Rules = append(role.Rules, rule)
		}
	}
	if len(role.Rules) != len(shipped.Rules)-1 {
		t.Fatal("the rule is not there")
	}
	roles := cluster.Client.RbacV1().Roles(ns)
	if _, err := roles.Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.Kubectl(t, "create", "rolebinding", "poor", "-n", ns, "--role=poor", "--serviceaccount="+ns+":default")
	harness.StartReconciler(t, cluster.AccountKubeconfig(t, ns, "default", "", nil), "--namespace="+ns)
	create(t, ns, "ok-1")
	await(t, ns, "False", "blockOwnerDeletion")
	role.Rules = shipped.Rules
	if _, err := roles.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.AwaitRight(t, "system:serviceaccount:"+ns+":default", true, authorizationv1.ResourceAttributes{Namespace: ns,
		Verb: "update", Group: harness.DBUpgrades.Group, Resource: harness.DBUpgrades.Resource, Subresource: "finalizers"})
	image(t, ns, "ok-2")
	await(t, ns, "True", "")
}

// TestRolesInsteadOfTheClusterRole: the Role of manifests/components/namespaced is enough for a
// migration in its namespace, with what there is in the operator's own for certificates.
func TestRolesInsteadOfTheClusterRole(t *testing.T) {
	ns := newNamespace(t)
	cluster.NewKubelet(t, ns)
	giveRolesOnly(t, ns)
	before := len(harness.Audit(t))

	proxy := cluster.NewProxy(t)
	proxy.Before = func(e *harness.Exchange) bool { // the certificate cannot be renewed: it is told by an event
		return e.Method != "PUT" || !strings.Contains(e.URL, "/secrets/")
	}
	r := harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, proxy.URL, proxy.CA), "--namespace="+ns, "--cert-mode=self-managed",
		"--operator-namespace="+harness.SystemNamespace, "--cert-lifetime=30s", "--cert-propagation=5s")
	create(t, ns, "ok-1")
	await(t, ns, "True", "")
	configurations := harness.Root("manifests", "base", "webhook-configurations.yaml")
	cluster.Kubectl(t, "apply", "-f", configurations)
	t.Cleanup(func() { cluster.Kubectl(t, "delete", "-f", configurations) })

	all := shipped(t, ns)
	for name, reason := range exceptions {
		if reason != inOneNamespace {
			continue
		}
		i := slices.IndexFunc(all, func(r right) bool { return r.String() == name })
		if i < 0 {
			t.Fatalf("there is no %s", name)
		}
		harness.Eventually(t, harness.Patience, name+" is needed", func() error {
			if !all[i].needed(harness.Audit(t)[before:], all) {
				return errors.New("nothing needs it")
			}
			return nil
		})
	}
	r.Stop(t)
	for _, q := range harness.Audit(t)[before:] {
		if q.Forbidden {
			t.Errorf("refused: %v", q)
		}
	}
}

// giveRolesOnly replaces the ClusterRole by the Role for one namespace, until the test ends, and takes
// the certificates of earlier tests away.
func giveRolesOnly(t *testing.T, ns string) {
	t.Helper()
	createJobs := authorizationv1.ResourceAttributes{Verb: "create", Group: "batch", Resource: "jobs"} // everywhere
	t.Cleanup(func() {
		if err := cluster.InstallRights(); err != nil {
			t.Error(err)
		}
	})
	cluster.Kubectl(t, "delete", "clusterrolebinding,clusterrole", "dbupgrade-reconciler")
	for _, file := range []string{"role.yaml", "binding.yaml"} {
		cluster.Kubectl(t, "apply", "-n", ns, "-f", harness.Root("manifests", "components", "namespaced", "rights", file))
	}
	cluster.AwaitRight(t, harness.Reconciler, false, createJobs)
	createJobs.Namespace = ns
	cluster.AwaitRight(t, harness.Reconciler, true, createJobs)
	cluster.Kubectl(t, "delete", "secrets", "-n", harness.SystemNamespace, "--ignore-not-found", "dbupgrade-webhook-ca", "dbupgrade-webhook-cert")
}

// --- What it is played with --------------------------------------------------------

func newNamespace(t *testing.T) string {
	t.Helper()
	ns := cluster.Namespace(t)
	if _, err := cluster.Client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "db"}, StringData: map[string]string{"url": "postgres://db/app"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, harness.Patience, "the default service account", func() error {
		_, err := cluster.Client.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	return ns
}

func create(t *testing.T, ns, tag string) {
	t.Helper()
	_, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns).Create(t.Context(), &unstructured.Unstructured{
		Object: map[string]any{"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade",
			"metadata": map[string]any{"name": "shop"},
			"spec": map[string]any{
				"migrations": map[string]any{"image": "shop/migrations:" + tag},
				"database": map[string]any{"type": "selfHosted", "connection": map[string]any{
					"urlSecretRef": map[string]any{"name": "db"}}}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func image(t *testing.T, ns, tag string) {
	t.Helper()
	patch(t, ns, `{"spec": {"migrations": {"image": "shop/migrations:`+tag+`"}}}`)
}

func patch(t *testing.T, ns, merge string) {
	t.Helper()
	if _, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns).Patch(t.Context(), "shop", types.MergePatchType,
		[]byte(merge), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// await waits for the condition Ready of the newest generation, and a part of the message.
func await(t *testing.T, ns, ready, inMessage string) {
	t.Helper()
	awaitStatus(t, ns, func(o *unstructured.Unstructured) bool {
		return strings.Contains(harness.Conditions(o), "Ready="+ready+"/") &&
			strings.Contains(harness.Text(o, "status", "message"), inMessage)
	})
}

func awaitReason(t *testing.T, ns, reason string) {
	t.Helper()
	awaitStatus(t, ns, func(o *unstructured.Unstructured) bool { return harness.Text(o, "status", "reason") == reason })
}

func awaitStatus(t *testing.T, ns string, is func(*unstructured.Unstructured) bool) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "status", func() error {
		o, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns).Get(t.Context(), "shop", metav1.GetOptions{})
		if err != nil {
			return err
		}
		seen, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
		if seen != o.GetGeneration() || !is(o) {
			return fmt.Errorf("%s: %s", harness.Conditions(o), harness.Text(o, "status", "message"))
		}
		return nil
	})
}

func deleteJobs(t *testing.T, ns string) {
	t.Helper()
	background := metav1.DeletePropagationBackground
	if err := cluster.Client.BatchV1().Jobs(ns).DeleteCollection(t.Context(),
		metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
}

// leftOver makes a Job as an earlier object of this name may have left it: suspended, never to be
// started.
func leftOver(t *testing.T, ns string) {
	t.Helper()
	suspend := true
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "dbupgrade-shop-00000000", Labels: map[string]string{
			"app.kubernetes.io/managed-by":        "dbupgrade-operator",
			"dbupgrade.subbug.learning/name":      "shop",
			"dbupgrade.subbug.learning/owner-uid": "00000000-0000-0000-0000-000000000000"}},
		Spec: batchv1.JobSpec{Suspend: &suspend, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "migrate", Image: "shop/migrations:wait"}}}}}}
	if _, err := cluster.Client.BatchV1().Jobs(ns).Create(context.Background(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// seen waits until a request has been made.
func seen(t *testing.T, verb, resource string) {
	t.Helper()
	harness.Eventually(t, harness.Patience, verb+" "+resource, func() error {
		if !slices.ContainsFunc(harness.Audit(t), func(q harness.AuditedRequest) bool {
			return q.Verb == verb && q.Resource == resource
		}) {
			return fmt.Errorf("not seen")
		}
		return nil
	})
}
