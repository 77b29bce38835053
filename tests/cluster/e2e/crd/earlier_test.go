// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"dbupgrade/tests/cluster/e2e/harness"
)

// TestReplacingTheEarlierProgramsCRD: one that Helm has made, with fewer rules, other columns and a
// member of status that is gone, becomes ours by kubectl apply; objects stay, and can be changed.
func TestReplacingTheEarlierProgramsCRD(t *testing.T) {
	real, earlier := schemas(t)
	ns := cluster.Namespace(t)
	objects := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns)
	schema, err := harness.Schema(earlier)
	if err != nil {
		t.Fatal(err)
	}
	status := schema["properties"].(map[string]any)["status"].(map[string]any)
	delete(status, "default")
	status["properties"].(map[string]any)["jobCompletedAt"] = map[string]any{"type": "string", "format": "date-time"}
	versions, _, _ := unstructured.NestedSlice(earlier.Object, "spec", "versions")
	versions[0].(map[string]any)["additionalPrinterColumns"] = []any{
		map[string]any{"name": "Old", "type": "string", "jsonPath": ".metadata.name"}}
	if err := unstructured.SetNestedSlice(earlier.Object, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	cluster.InstallCRD(t, earlier, true)

	relative := map[string]any{"migrations": map[string]any{"image": "shop:1", "dir": "here"},
		"database": map[string]any{"type": "selfHosted", "connection": map[string]any{
			"urlSecretRef": map[string]any{"name": "db", "key": "url"}}}}
	object, err := objects.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade",
		"metadata": map[string]any{"name": "shop"}, "spec": relative}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	object.Object["status"] = map[string]any{"observedGeneration": int64(1), "jobCompletedAt": "2026-01-01T00:00:00Z"}
	if _, err := objects.UpdateStatus(t.Context(), object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}

	cluster.Kubectl(t, "apply", "-f", harness.Root("manifests", "crd", "dbupgrades.yaml"))
	harness.Eventually(t, 20*time.Second, "the new schema takes effect", func() error {
		object, err = objects.Get(t.Context(), "shop", metav1.GetOptions{})
		if err == nil && harness.Text(object, "status", "jobCompletedAt") != "" {
			err = fmt.Errorf("status: %v", object.Object["status"])
		}
		return err
	})
	live, err := cluster.Dynamic.Resource(harness.CRDs).Get(t.Context(), real.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{"versions", "names", "scope", "group"} {
		if want, got := text(t, real, member), text(t, live, member); want != got {
			t.Errorf("%s: want %s\ngot %s", member, want, got)
		}
	}
	cluster.Kubectl(t, "label", "dbu", "-n", ns, "shop", "a=b")
	cluster.Kubectl(t, "patch", "dbu", "-n", ns, "shop", "--type=merge", "-p", `{"spec":{"migrations":{"image":"shop:2"}}}`)
	if _, err := cluster.TryKubectl("patch", "dbu", "-n", ns, "shop", "--type=merge", "-p",
		`{"spec":{"migrations":{"dir":"there"}}}`); err == nil {
		t.Error("another relative dir was taken")
	}
	cluster.Kubectl(t, "patch", "dbu", "-n", ns, "shop", "--type=merge", "-p", `{"spec":{"migrations":{"dir":"/here"}}}`)
}

// text is a member of a CRD's spec as JSON.
func text(t *testing.T, crd *unstructured.Unstructured, member string) string {
	t.Helper()
	content, err := json.Marshal(crd.Object["spec"].(map[string]any)[member])
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
