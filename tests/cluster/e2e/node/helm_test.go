// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
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
	node.Kubectl(t, "delete", "-k", harness.Root("manifests", "base"), "--timeout="+patience.String())

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
		"--timeout", patience.String())
	w.image("v2")
	w.wait("Ready")
	w.wantTables("orders users")
	if err := w.applyYAML("apiVersion: dbupgrade.subbug.learning/v1alpha1\nkind: DBUpgrade\nmetadata: {name: wrong}\n" +
		"spec: {migrations: {image: \"a;b\"}, database: {type: selfHosted}}\n"); err == nil ||
		!strings.Contains(err.Error(), "database.type=selfHosted requires connection to be set") {
		t.Errorf("not refused by the webhook: %v", err)
	}

	helm("uninstall", "dbupgrade", "--wait", "--timeout", patience.String())
	w.await(done) // still there, and as it was
	w.kubectl("delete", "dbu", "shop")
	node.Kubectl(t, "delete", "namespace", release, "--timeout="+patience.String())
	node.Kubectl(t, "delete", "crd", "dbupgrades.dbupgrade.subbug.learning")
	if err := node.Install(); err != nil { // for whoever looks at a node that is kept
		t.Fatal(err)
	}
}
