// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dbupgrade/tests/cluster/e2e/harness"
)

// byHelm puts the chart in the place of the manifests, in another namespace and with two
// reconcilers, and does what its notes say.
func byHelm(t *testing.T) {
	const release = "databases"
	w := newWorld(t)
	helm := func(args ...string) string {
		t.Helper()
		out, err := node.Helm(t, append(args, "-n", release)...)
		if err != nil {
			pods, _ := node.TryKubectl("describe", "pods", "-n", release)
			t.Fatalf("%v\n%s", err, pods)
		}
		return out
	}
	node.Kubectl(t, "delete", "-k", harness.Root("manifests", "base"), "--timeout="+harness.Patience.String())

	notes := helm("install", "dbupgrade", harness.Root("manifests", "chart"), "--create-namespace",
		"--set", "image.tag=dev,reconciler.replicas=2")
	commands := harness.Commands(strings.NewReplacer("postgres://user:password@host:5432/shop", "'"+w.url(password)+"'",
		"registry.example.com/shop/migrations:1", "localhost/migrations:v1").Replace(notes))
	if len(commands) != 5 {
		t.Fatalf("%d commands in\n%s", len(commands), notes)
	}
	for _, command := range commands {
		out, err := node.Shell(t, t.TempDir(), w.ns, command)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("$ %s\n%s", command, out)
	}
	w.await(done)
	w.wantTables("users")

	// With --wait: Pods of both processes are replaced, and the webhook answers all the while.
	helm("upgrade", "dbupgrade", harness.Root("manifests", "chart"), "--reuse-values", "--set", "logLevel=debug", "--wait",
		"--timeout", harness.Patience.String())
	w.image("v2")
	w.wait("Ready")
	w.wantTables("orders users")
	refusedByWebhook(w)

	// With a certificate of one's own the reconciler makes none any more.
	dir := t.TempDir()
	if _, err := node.Shell(t, dir, release, "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "+
		"-keyout tls.key -out tls.crt -days 1 -subj /CN=own -addext subjectAltName=DNS:dbupgrade-webhook-service."+release+
		".svc && kubectl create secret tls own --cert=tls.crt --key=tls.key"); err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(filepath.Join(dir, "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	helm("upgrade", "dbupgrade", harness.Root("manifests", "chart"), "--reuse-values", "--wait", "--timeout", harness.Patience.String(),
		"--set", "certificates.mode=secret,certificates.secretName=own",
		"--set", "certificates.caBundle="+base64.StdEncoding.EncodeToString(own))
	refusedByWebhook(w)

	helm("uninstall", "dbupgrade", "--wait", "--timeout", harness.Patience.String())
	w.await(done) // still there, and as it was
	w.kubectl("delete", "dbu", "shop")
	node.Kubectl(t, "delete", "namespace", release, "--timeout="+harness.Patience.String())
	node.Kubectl(t, "delete", "crd", "dbupgrades.dbupgrade.subbug.learning")
	if err := node.Install(); err != nil { // for whoever looks at a node that is kept
		t.Fatal(err)
	}
}

// refusedByWebhook: it answers, over a connection that the API server trusts; the CRD would take this.
func refusedByWebhook(w *world) {
	w.Helper()
	harness.Eventually(w, harness.Patience, "the webhook's refusal", func() error { // Pods have just changed
		err := w.applyYAML("apiVersion: dbupgrade.subbug.learning/v1alpha1\nkind: DBUpgrade\nmetadata: {name: wrong}\n" +
			"spec:\n  migrations: {image: x}\n  database: {type: selfHosted, connection: {urlSecretRef: {name: db}}}\n" +
			"  runner: {podAnnotations: {large: " + strings.Repeat("x", 16<<10) + "}}\n")
		if err == nil {
			w.Fatal("was not refused")
		}
		if !strings.Contains(err.Error(), "spec.runner.podAnnotations: ") {
			return err
		}
		return nil
	})
}
