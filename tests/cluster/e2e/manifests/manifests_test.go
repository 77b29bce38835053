// SPDX-License-Identifier: Apache-2.0

// Package manifests applies what users apply to a real API server. There is no node, so no process
// of the operator runs: the webhook is down for the whole of it.
package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"dbupgrade/tests/cluster/e2e/harness"
)

const systemNamespace = "dbupgrade-system"

var cluster *harness.Cluster

func TestMain(m *testing.M) { os.Exit(harness.Run(m, &cluster)) }

// TestInstall plays an installation from the CRD to the removal, in this order.
func TestInstall(t *testing.T) {
	crd, err := harness.CRD()
	if err != nil {
		t.Fatal(err)
	}
	cluster.InstallCRD(t, crd, false)
	ns := cluster.Namespace(t)

	samples(t, ns)
	object := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns)
	if _, err := object.Create(t.Context(), upgrade("before"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	base := harness.Root("manifests", "base")
	cluster.Kubectl(t, "apply", "--validate=strict", "-k", base)
	t.Run("applying it again changes nothing", func(t *testing.T) {
		before := generations(t, base)
		for _, line := range strings.Split(strings.TrimSpace(cluster.Kubectl(t, "apply", "-k", base)), "\n") {
			// Of a PodDisruptionBudget kubectl always says that it is configured: its selector is replaced as a whole.
			if !strings.HasSuffix(line, " unchanged") && !strings.HasPrefix(line, "poddisruptionbudget.policy/") {
				t.Error(line)
			}
		}
		if after := generations(t, base); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	})
	t.Run("Pod Security lets the pods of both processes be made", pods)
	t.Run("the reconciler has the rights that it needs, and no others", rights)
	t.Run("caBundle is left to the reconciler", caBundle)
	t.Run("a webhook that is down bars changes of the spec only", func(t *testing.T) { webhookDown(t, ns) })

	t.Run("one command removes everything", func(t *testing.T) {
		cluster.Kubectl(t, "delete", "-k", base, "--timeout=60s")
		out, err := cluster.TryKubectl("get", "-k", base, "--ignore-not-found")
		if out != "" || (err != nil && !strings.Contains(err.Error(), "doesn't have a resource type")) {
			t.Errorf("left: %s %v", out, err)
		}
	})
}

// generations of all objects of a kustomization: they count the changes.
func generations(t *testing.T, dir string) string {
	t.Helper()
	return cluster.Kubectl(t, "get", "-k", dir, "-o",
		`jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation}{"\n"}{end}`)
}

// TestOverlay: an image and a namespace of one's own are set in one place each.
func TestOverlay(t *testing.T) {
	// Physical paths: kustomize follows links before it goes up.
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.EvalSymlinks(harness.Root("manifests", "base"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Rel(dir, root)
	if err != nil {
		t.Fatal(err)
	}
	overlay := "resources: [" + base + "]\nnamespace: databases\n" +
		"images: [{name: localhost/dbupgrade, newName: registry.example.com/dbupgrade, newTag: 0.1.0}]\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	out := cluster.Kubectl(t, "kustomize", dir)
	for text, want := range map[string]int{
		"dbupgrade-system": 0, "localhost/dbupgrade": 0, "image: registry.example.com/dbupgrade:0.1.0\n": 2,
	} {
		if got := strings.Count(out, text); got != want {
			t.Errorf("%q: want %d times, got %d", text, want, got)
		}
	}
}

// samples are taken strictly: a misspelt field is an error.
func samples(t *testing.T, ns string) {
	t.Run("the samples are valid", func(t *testing.T) {
		out := cluster.Kubectl(t, "apply", "-n", ns, "--dry-run=server", "--validate=strict",
			"-f", harness.Root("manifests", "samples"))
		if !strings.Contains(out, "dbupgrade.dbupgrade.subbug.learning/shop created") {
			t.Error(out)
		}
	})
}

func upgrade(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade",
		"metadata": map[string]any{"name": name, "finalizers": []any{"example.com/test"}},
		"spec": map[string]any{
			"migrations": map[string]any{"image": "shop/migrations:1"},
			"database": map[string]any{"type": "selfHosted", "connection": map[string]any{
				"urlSecretRef": map[string]any{"name": "db"}}},
		}}}
}

func pods(t *testing.T) {
	want := map[string]int{"reconciler": 1, "webhook": 2}
	harness.Eventually(t, 20*time.Second, "pods", func() error {
		list, err := cluster.Client.CoreV1().Pods(systemNamespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		got := map[string]int{}
		for _, pod := range list.Items {
			got[pod.Labels["app.kubernetes.io/component"]]++
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("want %v, got %v", want, got)
		}
		return nil
	})
}

// rights asks the API server's authorizer: every right of the contract, and its nearest neighbours.
func rights(t *testing.T) {
	const (
		app   = "shop" // any namespace
		group = "dbupgrade.subbug.learning"
		lease = "dbupgrade-controller-manager.subbug.learning"
		hooks = "admissionregistration.k8s.io"
	)
	rows := []struct {
		namespace, group, resource, name string
		may, mayNot                      string // verbs
	}{
		{app, group, "dbupgrades", "", "get list watch", "create update patch delete"},
		{app, group, "dbupgrades/status", "", "patch", "get update"},
		{app, group, "dbupgrades/finalizers", "", "update", "patch"},
		{app, "batch", "jobs", "", "get list watch create patch delete", "update deletecollection"},
		{app, "", "pods", "", "list watch", "get create patch delete"},
		{app, "", "pods/log", "", "", "get"},
		{app, "", "secrets", "any", "get", "list watch create update patch delete"},
		{app, "events.k8s.io", "events", "", "create patch list", "get watch delete"},
		{app, "coordination.k8s.io", "leases", lease, "", "get create update"},
		{systemNamespace, "coordination.k8s.io", "leases", lease, "get create update", "delete list"},
		{systemNamespace, "coordination.k8s.io", "leases", "other", "create", "get update"},
		{systemNamespace, "", "secrets", "dbupgrade-webhook-cert", "get create update", "delete list"},
		{systemNamespace, "", "secrets", "dbupgrade-webhook-ca", "get create update", "delete list"},
		{systemNamespace, "", "secrets", "other", "get create", "update"},
		{"", hooks, "validatingwebhookconfigurations", "dbupgrade-validating-webhook-configuration",
			"get list watch patch", "create update delete"},
		{"", hooks, "mutatingwebhookconfigurations", "dbupgrade-mutating-webhook-configuration",
			"get list watch patch", "create update delete"},
		{"", hooks, "validatingwebhookconfigurations", "other", "", "get list watch patch"},
		{"", "", "namespaces", "", "", "get list"},
		{"", "apiextensions.k8s.io", "customresourcedefinitions", "", "", "get list"},
	}
	for _, r := range rows {
		attributes := authorizationv1.ResourceAttributes{
			Namespace: r.namespace, Group: r.group, Name: r.name}
		attributes.Resource, attributes.Subresource, _ = strings.Cut(r.resource, "/")
		for _, verb := range strings.Fields(r.may) {
			attributes.Verb = verb
			expect(t, "dbupgrade-reconciler", attributes, true)
			expect(t, "dbupgrade-webhook", attributes, false)
		}
		for _, verb := range strings.Fields(r.mayNot) {
			attributes.Verb = verb
			expect(t, "dbupgrade-reconciler", attributes, false)
		}
	}
}

func expect(t *testing.T, account string, attributes authorizationv1.ResourceAttributes, want bool) {
	t.Helper()
	review, err := cluster.Client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(),
		&authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               "system:serviceaccount:" + systemNamespace + ":" + account,
			Groups:             []string{"system:serviceaccounts", "system:authenticated"},
			ResourceAttributes: &attributes,
		}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if review.Status.Allowed != want {
		t.Errorf("%s %s %s.%s/%s %q in %q: want %v, got %v", account, attributes.Verb, attributes.Resource,
			attributes.Group, attributes.Subresource, attributes.Name, attributes.Namespace, want, !want)
	}
}

func caBundle(t *testing.T) {
	hooks := cluster.Client.AdmissionregistrationV1()
	v, err := hooks.ValidatingWebhookConfigurations().Get(t.Context(),
		"dbupgrade-validating-webhook-configuration", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v.Webhooks[0].ClientConfig.CABundle = []byte(someCertificate)
	if _, err := hooks.ValidatingWebhookConfigurations().Update(t.Context(), v, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.Kubectl(t, "apply", "-k", harness.Root("manifests", "base"))
	v, err = hooks.ValidatingWebhookConfigurations().Get(t.Context(), v.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if string(v.Webhooks[0].ClientConfig.CABundle) != someCertificate {
		t.Error("an apply took the caBundle away")
	}
}

// someCertificate: the API server wants to see one; whose it is does not matter.
const someCertificate = `-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUIHn5xNY/I8Xd1Au+PQ91/JeujCQwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjQwMTU1MDJaGA8yMTI2MTAzMTAxNTUw
MlowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNVO
nSqBjpnDzfnz0622r3y0qgKfs1vtvX/fMsobHMP//14awU/wt7h2OxyAsMoeM0Ww
AjB/l56lfuFjP/IAqKWjUzBRMB0GA1UdDgQWBBTDUn8X7CKjBA4xgrNJIH2NlPzs
3TAfBgNVHSMEGDAWgBTDUn8X7CKjBA4xgrNJIH2NlPzs3TAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCICRDwhgyRH9LhTD6Dpo2X9BPuq5vSc6H+w76
FuQQ1xHZAiB2fvnvftZVeupQxIaN5ttzItwcwvDK6Sa270yLNRHTIw==
-----END CERTIFICATE-----
`

func webhookDown(t *testing.T, ns string) {
	objects := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns)
	patch := func(body string) error {
		_, err := objects.Patch(t.Context(), "before", types.MergePatchType, []byte(body), metav1.PatchOptions{})
		return err
	}
	harness.Eventually(t, 10*time.Second, "creation is refused", func() error {
		if _, err := objects.Create(t.Context(), upgrade("after"), metav1.CreateOptions{
			DryRun: []string{metav1.DryRunAll}}); !failedWebhook(err) {
			return fmt.Errorf("not refused for want of the webhook: %v", err)
		}
		return nil
	})
	if err := patch(`{"spec": {"suspend": true}}`); !failedWebhook(err) {
		t.Errorf("change of the spec: %v", err)
	}
	for _, body := range []string{
		`{"metadata": {"labels": {"team": "shop"}}}`,
		`{"metadata": {"annotations": {"dbupgrade.subbug.learning/retry": "1"}}}`,
		`{"spec": {"suspend": false}}`, // as it is
	} {
		if err := patch(body); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	if _, err := objects.Patch(t.Context(), "before", types.MergePatchType,
		[]byte(`{"status": {"reason": "JobRunning"}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Errorf("status: %v", err)
	}
	if err := objects.Delete(t.Context(), "before", metav1.DeleteOptions{}); err != nil {
		t.Errorf("deletion: %v", err)
	}
	if err := patch(`{"metadata": {"finalizers": null}}`); err != nil {
		t.Errorf("removal of the finalizer: %v", err)
	}
	if _, err := objects.Get(t.Context(), "before", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after deletion: %v", err)
	}
}

func failedWebhook(err error) bool {
	return err != nil && strings.Contains(err.Error(), "failed calling webhook")
}
