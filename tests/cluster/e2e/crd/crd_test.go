// SPDX-License-Identifier: Apache-2.0

// Package crd judges the DBUpgrade CRD alone, as it works when the webhook is off.
package crd

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

func TestMain(m *testing.M) { os.Exit(harness.Run(m, &cluster)) }

// TestAdmissionTable judges every case of tests/data/admission. The objects to update are stored
// under a permissive schema, as an older version of the CRD may have taken them.
func TestAdmissionTable(t *testing.T) {
	cases, err := harness.AdmissionCases()
	if err != nil {
		t.Fatal(err)
	}
	real, permissive := schemas(t)
	objects := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(cluster.Namespace(t))

	cluster.InstallCRD(t, permissive, true)
	for i, c := range cases {
		if c.Operation == "UPDATE" {
			store(t, objects, &c, caseName(i))
		}
	}
	cluster.InstallCRD(t, real, false)
	for i, c := range cases {
		t.Run(c.Name, func(t *testing.T) { judge(t, objects, &c, caseName(i)) })
	}
}

func caseName(i int) string { return fmt.Sprintf("case-%d", i) }

// schemas returns the CRD, and a form of it that takes any spec.
func schemas(t *testing.T) (real, permissive *unstructured.Unstructured) {
	t.Helper()
	real, err := harness.CRD()
	if err != nil {
		t.Fatal(err)
	}
	permissive = real.DeepCopy()
	schema, err := harness.Schema(permissive)
	if err != nil {
		t.Fatal(err)
	}
	delete(schema, "required")
	schema["properties"].(map[string]any)["spec"] = map[string]any{
		"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	return real, permissive
}

// store makes the object that a case updates.
func store(t *testing.T, objects dynamic.ResourceInterface, c *harness.AdmissionCase, name string) {
	t.Helper()
	old, err := c.Object(true, "", name)
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	object, err := objects.Create(t.Context(), &unstructured.Unstructured{Object: old}, metav1.CreateOptions{})
	if err == nil && c.OldStatus != nil {
		object.Object["status"] = c.OldStatus
		_, err = objects.UpdateStatus(t.Context(), object, metav1.UpdateOptions{})
	}
	if err == nil && c.Deleting {
		err = objects.Delete(t.Context(), name, metav1.DeleteOptions{})
	}
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
}

func judge(t *testing.T, objects dynamic.ResourceInterface, c *harness.AdmissionCase, name string) {
	content, err := c.Object(false, "", name)
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{Object: content}
	if c.Operation == "UPDATE" {
		old, err := objects.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		object.SetResourceVersion(old.GetResourceVersion())
		_, err = objects.Update(t.Context(), object, metav1.UpdateOptions{})
		compare(t, c, err)
		return
	}
	_, err = objects.Create(t.Context(), object, metav1.CreateOptions{})
	compare(t, c, err)
}

func compare(t *testing.T, c *harness.AdmissionCase, err error) {
	t.Helper()
	if err != nil && !apierrors.IsInvalid(err) {
		t.Fatalf("neither taken nor refused as invalid: %v", err)
	}
	if (err == nil) != c.CRD.Allowed {
		t.Fatalf("allowed: want %v, got %v: %v", c.CRD.Allowed, err == nil, err)
	}
	got := causes(err)
	want := c.CRD.Fields
	if want == nil && err != nil {
		for _, cause := range c.Webhook.Causes {
			want = append(want, cause.Field)
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	if fields := slices.Sorted(maps.Keys(got)); !slices.Equal(fields, want) {
		t.Errorf("fields: want %v, got %v: %v", want, fields, err)
	}
	for _, cause := range c.Webhook.Causes {
		for _, words := range kept {
			if said, ok := got[cause.Field]; ok && strings.Contains(cause.Message, words) &&
				!strings.Contains(said, words) {
				t.Errorf("%s: want the words %q, got: %s", cause.Field, words, said)
			}
		}
	}
}

// kept are words that users match on, whoever refuses.
var kept = []string{
	"requires connection to be set", "should not be set for selfHosted type",
	"requires either aws or connection to be set", "is immutable", "cannot be added or removed",
	"requires target.", "should not have target.", "is not valid semver",
}

// causes of a refusal: what is said of each field. The field <nil> only says that a schema error
// hid CEL rules.
func causes(err error) map[string]string {
	all := map[string]string{}
	if status, ok := err.(apierrors.APIStatus); ok {
		for _, cause := range status.Status().Details.Causes {
			if cause.Field != "<nil>" {
				all[cause.Field] += cause.Message + "\n"
			}
		}
	}
	return all
}

// TestSchemaIsBoundedAndDescribed walks the schema: every string, list, map and number has its
// bounds, and every member a description for kubectl explain.
func TestSchemaIsBoundedAndDescribed(t *testing.T) {
	crd, err := harness.CRD()
	if err != nil {
		t.Fatal(err)
	}
	schema, err := harness.Schema(crd)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"spec", "status"} {
		walk(t, part, schema["properties"].(map[string]any)[part].(map[string]any))
	}
}

func walk(t *testing.T, path string, s map[string]any) {
	need := map[string][]string{
		"string": {"maxLength"}, "array": {"maxItems", "items"}, "integer": {"minimum", "maximum", "format"}}
	kind, _ := s["type"].(string)
	if s["x-kubernetes-int-or-string"] == true {
		kind = "string"
	}
	if _, ok := s["enum"]; !ok {
		for _, key := range need[kind] {
			if s[key] == nil {
				t.Errorf("%s: a %s without %s", path, kind, key)
			}
		}
	}
	_, isMap := s["additionalProperties"]
	if (isMap || s["x-kubernetes-preserve-unknown-fields"] == true) && s["maxProperties"] == nil {
		t.Errorf("%s: a map without maxProperties", path)
	}
	if values, ok := s["additionalProperties"].(map[string]any); ok {
		walk(t, path+"{}", values)
	}
	if items, ok := s["items"].(map[string]any); ok {
		walk(t, path+"[]", items)
	}
	members, _ := s["properties"].(map[string]any)
	for name, member := range members {
		m := member.(map[string]any)
		if text, _ := m["description"].(string); !strings.HasSuffix(text, ".") {
			t.Errorf("%s.%s: no description in sentences", path, name)
		}
		walk(t, path+"."+name, m)
	}
}

// TestKubectl looks at the API as people do.
func TestKubectl(t *testing.T) {
	real, _ := schemas(t)
	cluster.InstallCRD(t, real, false)
	ns := cluster.Namespace(t)

	t.Run("explain describes the whole tree", func(t *testing.T) {
		out := cluster.Kubectl(t, "explain", "dbu", "--recursive")
		for _, name := range []string{"urlSecretRef", "minPodVersions", "ttlSecondsAfterFinished", "lastRun"} {
			if !strings.Contains(out, name) {
				t.Errorf("no %s in:\n%s", name, out)
			}
		}
		if out := cluster.Kubectl(t, "explain", "dbu.spec.suspend"); strings.Contains(out, "<empty>") {
			t.Errorf("no description:\n%s", out)
		}
	})
	t.Run("a new object is in progress for kstatus, and its columns are named", func(t *testing.T) {
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade",
			"metadata": map[string]any{"name": "shop"},
			"spec": map[string]any{
				"migrations": map[string]any{"image": "shop/migrations:1"},
				"database": map[string]any{"type": "selfHosted", "connection": map[string]any{
					"urlSecretRef": map[string]any{"name": "db"}}},
			}}}
		made, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns).Create(
			t.Context(), object, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if seen, _, _ := unstructured.NestedInt64(made.Object, "status", "observedGeneration"); seen != -1 {
			t.Errorf("status.observedGeneration: want -1, got %d", seen)
		}
		for path, want := range map[string]any{
			"migrations.dir": "/migrations", "database.connection.urlSecretRef.key": "url",
			"runner.activeDeadlineSeconds": int64(600), "suspend": false,
		} {
			got, _, _ := unstructured.NestedFieldNoCopy(made.Object, append([]string{"spec"}, strings.Split(path, ".")...)...)
			if got != want {
				t.Errorf("default of %s: want %v, got %v", path, want, got)
			}
		}
		narrow := strings.Fields(cluster.Kubectl(t, "-n", ns, "get", "dbu"))[:6]
		if want := []string{"NAME", "READY", "REASON", "IMAGE", "JOB", "AGE"}; !slices.Equal(narrow, want) {
			t.Errorf("columns: want %v, got %v", want, narrow)
		}
		wide := cluster.Kubectl(t, "-n", ns, "get", "dbu", "-o", "wide")
		for _, column := range []string{"PROGRESSING", "DEGRADED", "BLOCKED", "OBSERVEDGEN", "MESSAGE"} {
			if !strings.Contains(wide, column) {
				t.Errorf("no column %s in:\n%s", column, wide)
			}
		}
	})
}
