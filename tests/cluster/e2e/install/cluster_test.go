// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"dbupgrade/tests/cluster/e2e/harness"
)

// TestOverlaysAreTaken: the API server takes each of them, strictly and without a warning.
func TestOverlaysAreTaken(t *testing.T) {
	cluster.Kubectl(t, "apply", "--server-side", "-f", harness.Cached(t, "crds"))
	cluster.Kubectl(t, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	namespaces(t, system, "shop") // a dry run makes none
	for _, dir := range overlays(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			cluster.Kubectl(t, "apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-k", dir)
		})
	}
}

// TestHelm plays the life of a release, in this order.
func TestHelm(t *testing.T) {
	removeCRD(t)
	ns := cluster.Namespace(t)
	old := olderChart(t)
	upgrade := func(t *testing.T, chart string, sets ...string) {
		t.Helper()
		args := []string{"upgrade", "--install", "dbupgrade", chart, "-n", ns, "--reset-values"}
		for _, set := range sets {
			args = append(args, "--set", set)
		}
		helm(t, args...)
	}

	upgrade(t, old, "webhook.enabled=false") // so that an object can be stored
	store(t, ns, "shop")
	upgrade(t, old)
	if hasField(t, "suspend") {
		t.Fatal("the older CRD knows suspend")
	}
	fillInCABundle(t)

	t.Run("an upgrade updates the CRD, and leaves caBundle and what is stored", func(t *testing.T) {
		upgrade(t, chart())
		if !hasField(t, "suspend") {
			t.Error("the CRD is the older one")
		}
		wantCABundle(t, someCA())
		wantObject(t, ns, "shop")
		if out := helm(t, "list", "-n", ns); !strings.Contains(out, "deployed") || !strings.Contains(out, "dbupgrade-"+version(t)) {
			t.Error(out)
		}
	})
	t.Run("another value leaves caBundle", func(t *testing.T) {
		upgrade(t, chart(), "logLevel=debug", "reconciler.replicas=2")
		wantCABundle(t, someCA())
	})
	t.Run("and so does a rollback", func(t *testing.T) {
		helm(t, "rollback", "dbupgrade", "-n", ns)
		wantCABundle(t, someCA())
	})
	t.Run("a second release, for another namespace, without anything cluster-wide", func(t *testing.T) {
		other, shop := cluster.Namespace(t), cluster.Namespace(t)
		before := installed(t, other, shop)
		helm(t, "install", "second", chart(), "-n", other, "--set", "webhook.enabled=false,crds.install=false",
			"--set", "rbac.aggregate=false,priorityClass.create=false", "--set", "namespaces={"+shop+"}")
		if left := installed(t, other, shop); len(left) != len(before)+7 {
			t.Errorf("before: %v\nnow: %v", before, left)
		}
		helm(t, "uninstall", "second", "-n", other)
		if left := installed(t, other, shop); !slices.Equal(left, before) {
			t.Errorf("before: %v\nleft: %v", before, left)
		}
	})
	t.Run("removal keeps the CRD and what is stored", func(t *testing.T) {
		helm(t, "uninstall", "dbupgrade", "-n", ns)
		wantObject(t, ns, "shop")
		if left := installed(t, ns); !slices.Equal(left, []string{crdKey}) {
			t.Errorf("left: %v", left)
		}
	})
	t.Run("the release comes back to it", func(t *testing.T) {
		upgrade(t, chart())
		wantObject(t, ns, "shop")
	})
	t.Run("unless it shall go too", func(t *testing.T) {
		upgrade(t, chart(), "crds.keep=false")
		helm(t, "uninstall", "dbupgrade", "-n", ns)
		harness.Eventually(t, 30*time.Second, "nothing is left", func() error {
			if left := installed(t, ns); len(left) > 0 {
				return fmt.Errorf("left: %v", left)
			}
			return nil
		})
	})
}

// TestFromManifestsToHelm: what was applied is taken over, without a moment without it.
func TestFromManifestsToHelm(t *testing.T) {
	removeCRD(t)
	cluster.Kubectl(t, "apply", "-k", harness.Root("manifests", "base"))
	fillInCABundle(t)
	if _, err := cluster.Helm(t, "install", "dbupgrade", chart(), "-n", system); err == nil {
		t.Error("helm takes over what is not its own without being asked")
	}
	helm(t, "install", "dbupgrade", chart(), "-n", system, "--take-ownership")
	wantCABundle(t, someCA())
	helm(t, "uninstall", "dbupgrade", "-n", system)
	if left := installed(t, system); !slices.Equal(left, []string{crdKey, "namespace/" + system}) {
		t.Errorf("left: %v", left)
	}
	cluster.Kubectl(t, "delete", "namespace", system, "--timeout=60s")
}

// TestNotesOfOwnSecret runs what the notes say to those who bring their own certificate.
func TestNotesOfOwnSecret(t *testing.T) {
	removeCRD(t)
	ns := cluster.Namespace(t)
	notes := helm(t, "install", "dbupgrade", chart(), "-n", ns, "--set", "certificates.mode=secret")
	dir := t.TempDir()
	sh := func(command string) {
		t.Helper()
		if _, err := cluster.Shell(t, dir, ns, command); err != nil {
			t.Error(err)
		}
	}
	sh("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.crt -days 1 -subj /CN=x" +
		" -addext subjectAltName=DNS:dbupgrade-webhook-service." + ns + ".svc 2>/dev/null && cp tls.crt ca.crt")
	commands := harness.Commands(notes)
	for _, part := range []string{"kubectl create secret tls", "for kind in"} {
		i := slices.IndexFunc(commands, func(c string) bool { return strings.HasPrefix(c, part) })
		if i < 0 {
			t.Fatalf("no %s in\n%s", part, notes)
		}
		sh(commands[i])
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	wantCABundle(t, string(ca))
	helm(t, "upgrade", "dbupgrade", chart(), "-n", ns, "--reuse-values")
	wantCABundle(t, string(ca))
	t.Run("a caBundle among the values", func(t *testing.T) {
		helm(t, "upgrade", "dbupgrade", chart(), "-n", ns, "--reuse-values",
			"--set", "certificates.caBundle="+base64.StdEncoding.EncodeToString([]byte(someCA())))
		wantCABundle(t, someCA())
	})
	helm(t, "uninstall", "dbupgrade", "-n", ns)
}

// TestPeople asks the authorizer what those may who have one of the cluster's own roles.
func TestPeople(t *testing.T) {
	cluster.Kubectl(t, "apply", "-f", harness.Root("manifests", "base", "user-roles.yaml"))
	ns := cluster.Namespace(t)
	const read, write = "get list watch", "create update patch delete deletecollection"
	for role, may := range map[string]string{"view": read, "edit": read + " " + write, "admin": read + " " + write} {
		cluster.Kubectl(t, "create", "rolebinding", role, "-n", ns, "--clusterrole="+role, "--user="+role)
		for _, verb := range strings.Fields(read + " " + write) {
			harness.Eventually(t, 30*time.Second, role+" "+verb, func() error { // aggregation takes a moment
				return mayBe(t, ns, role, verb, "", slices.Contains(strings.Fields(may), verb))
			})
		}
		for verb, want := range map[string]bool{"get": true, "update": false, "patch": false} {
			if err := mayBe(t, ns, role, verb, "status", want); err != nil {
				t.Error(err)
			}
		}
	}
}

func mayBe(t *testing.T, ns, user, verb, subresource string, want bool) error {
	t.Helper()
	review, err := cluster.Client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(),
		&authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: ns, Verb: verb, Group: harness.DBUpgrades.Group,
				Resource: "dbupgrades", Subresource: subresource}}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if review.Status.Allowed != want {
		return fmt.Errorf("%s %s dbupgrades %s: want %v", user, verb, subresource, want)
	}
	return nil
}

// --- What the tests look at --------------------------------------------------

const crdKey = "customresourcedefinition.apiextensions.k8s.io/dbupgrades.dbupgrade.subbug.learning"

// someCA: whose it is does not matter, but the API server wants to see a certificate.
var someCA = sync.OnceValue(func() string {
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", "/dev/null", "-days", "1", "-subj", "/CN=test").Output()
	if err != nil {
		panic(err)
	}
	return string(out)
})

// olderChart is this chart with a version before it, and a CRD that lacks a field.
func olderChart(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dbupgrade")
	if err := os.CopyFS(dir, os.DirFS(chart())); err != nil {
		t.Fatal(err)
	}
	edit := func(file string, change func(string) string) {
		path := filepath.Join(dir, file)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := change(string(text))
		if changed == string(text) {
			t.Fatalf("%s is as it was", file)
		}
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit("Chart.yaml", func(s string) string {
		return strings.ReplaceAll(s, "ersion: "+version(t), "ersion: 0.0.1")
	})
	edit("files/crd.yaml", func(s string) string {
		start := strings.Index(s, "\n              suspend:\n")
		end := start + 1
		for end < len(s) { // the member, and what is deeper
			line, _, _ := strings.Cut(s[end+1:], "\n")
			end += len(line) + 1
			if !strings.HasPrefix(s[end+1:], "               ") {
				break
			}
		}
		return s[:start] + s[end:]
	})
	return dir
}

// version is that of the project.
func version(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(harness.Root("meson.build"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "version: '")
	version, _, _ := strings.Cut(rest, "'")
	return version
}

func removeCRD(t *testing.T) {
	t.Helper()
	cluster.Kubectl(t, "delete", "crd", "dbupgrades.dbupgrade.subbug.learning", "--ignore-not-found", "--timeout=60s")
}

func hasField(t *testing.T, name string) bool {
	t.Helper()
	crd, err := cluster.Dynamic.Resource(harness.CRDs).Get(t.Context(), "dbupgrades.dbupgrade.subbug.learning", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	schema, err := harness.Schema(crd)
	if err != nil {
		t.Fatal(err)
	}
	_, has, _ := unstructured.NestedFieldNoCopy(schema, "properties", "spec", "properties", name)
	return has
}

func store(t *testing.T, ns, name string) {
	t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade", "metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"migrations": map[string]any{"image": "shop/migrations:1"},
			"database": map[string]any{"type": "selfHosted", "connection": map[string]any{
				"urlSecretRef": map[string]any{"name": "db"}}},
		}}}
	harness.Eventually(t, 30*time.Second, "the CRD is served", func() error {
		_, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns).Create(t.Context(), object, metav1.CreateOptions{})
		return err
	})
}

func wantObject(t *testing.T, ns, name string) {
	t.Helper()
	if _, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// fillInCABundle does what the reconciler does.
func fillInCABundle(t *testing.T) {
	t.Helper()
	for _, kind := range []string{"validating", "mutating"} {
		cluster.Kubectl(t, "patch", kind+"webhookconfiguration", "dbupgrade-"+kind+"-webhook-configuration", "--type=json", "-p",
			fmt.Sprintf(`[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "%s"}]`,
				base64.StdEncoding.EncodeToString([]byte(someCA()))))
	}
}

func wantCABundle(t *testing.T, want string) {
	t.Helper()
	v, err := cluster.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(),
		"dbupgrade-validating-webhook-configuration", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := cluster.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(),
		"dbupgrade-mutating-webhook-configuration", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range [][]byte{v.Webhooks[0].ClientConfig.CABundle, m.Webhooks[0].ClientConfig.CABundle} {
		if string(got) != want {
			t.Errorf("caBundle: want\n%s\ngot\n%s", want, got)
		}
	}
}

// namespaces makes those that are not there.
func namespaces(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := cluster.TryKubectl("create", "namespace", name); err != nil && !strings.Contains(err.Error(), "already exists") {
			t.Fatal(err)
		}
	}
}

// installed lists what there is of the operator, cluster-wide and in these namespaces.
func installed(t *testing.T, namespaces ...string) []string {
	t.Helper()
	const label = "app.kubernetes.io/part-of=dbupgrade"
	names := strings.Fields(cluster.Kubectl(t, "get", "-o", "name", "-l", label, "namespaces,crds,clusterroles,clusterrolebindings,"+
		"priorityclasses,validatingwebhookconfigurations,mutatingwebhookconfigurations"))
	for _, ns := range namespaces {
		names = append(names, strings.Fields(cluster.Kubectl(t, "get", "-n", ns, "-o", "name", "-l", label,
			"roles,rolebindings,serviceaccounts,services,deployments,poddisruptionbudgets,networkpolicies"))...)
	}
	slices.Sort(names)
	return names
}

// TestDocument runs every command of docs/install.md, in order, in a copy of the manifests; but not
// those that wait for Pods, which nobody runs here.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(harness.Root("docs", "install.md"))
	if err != nil {
		t.Fatal(err)
	}
	removeCRD(t)
	namespaces(t, "shop")
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "manifests"), os.DirFS(harness.Root("manifests"))); err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```sh\n")[1:]
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		var commands []string
		for line := range strings.Lines(block) {
			if !strings.HasPrefix(line, "kubectl rollout status") {
				commands = append(commands, line)
			}
		}
		command := strings.Join(commands, "")
		if strings.Contains(command, "helm install dbupgrade manifests/chart -n databases") {
			// What the block before it has installed is another way, which the next takes over.
			const file, crd = "manifests/install.yaml", "dbupgrades.dbupgrade.subbug.learning"
			command = "kubectl delete -f " + file + "\n" + command +
				"helm uninstall dbupgrade -n databases\nkubectl delete crd " + crd + "\nkubectl apply -f " + file + "\n"
		}
		out, err := cluster.Shell(t, dir, "default", command)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s\n%s", command, out)
	}
	if len(blocks) < 8 {
		t.Errorf("only %d blocks", len(blocks))
	}
}
