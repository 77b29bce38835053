// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"dbupgrade/tests/cluster/e2e/apiref"
	"dbupgrade/tests/cluster/e2e/harness"
)

// judged starts a webhook and waits until the API server asks it.
func judged(t *testing.T) {
	t.Helper()
	register(t, harness.StartWebhook(t))
	file := filepath.Join(t.TempDir(), "mistakes.yaml")
	harness.WriteFile(t, file, []byte(threeMistakes))
	harness.Eventually(t, 20*time.Second, "the API server asks", func() error {
		_, err := cluster.TryKubectl("apply", "--dry-run=server", "-f", file)
		if err != nil && strings.Contains(err.Error(), "spec.migrations.dir") {
			return nil
		}
		return err
	})
}

// dryRun has an object judged by webhook and schema; a misspelt member is an error, too.
func dryRun(t *testing.T, ns string, object *unstructured.Unstructured) error {
	t.Helper()
	object = object.DeepCopy()
	object.SetNamespace("") // of the cluster that it was written for
	_, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns).Create(t.Context(), object,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	return err
}

// TestTheExamplesOfTheReference: docs/api-examples.yaml.
func TestTheExamplesOfTheReference(t *testing.T) {
	judged(t)
	ns := cluster.Namespace(t)
	examples, err := apiref.Examples()
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range examples {
		t.Run(object.GetName(), func(t *testing.T) {
			if err := dryRun(t, ns, object); err != nil {
				t.Error(err)
			}
			if object.Object["status"] != nil {
				writeStatus(t, ns, object)
			}
		})
	}
}

// TestTheObjectsInTheDocuments: what readers copy from docs.
func TestTheObjectsInTheDocuments(t *testing.T) {
	judged(t)
	ns := cluster.Namespace(t)
	paths, err := filepath.Glob(harness.Root("docs", "*.md"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%v, %v", paths, err)
	}
	judgedObjects := 0
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(content), -1) {
			for _, text := range strings.Split(block[1], "\n---\n") {
				if !strings.Contains("\n"+text, "\nkind: DBUpgrade\n") {
					continue // another object, or a part of one
				}
				object := &unstructured.Unstructured{}
				if err := yaml.UnmarshalStrict([]byte(text), &object.Object); err != nil {
					t.Errorf("%s: %v:\n%s", path, err, text)
					continue
				}
				judgedObjects++
				if err := dryRun(t, ns, object); err != nil {
					t.Errorf("%s: %v:\n%s", path, err, text)
				}
			}
		}
	}
	if judgedObjects == 0 {
		t.Error("no DBUpgrade in the documents")
	}
}

// writeStatus has the example of a status judged by the schema.
func writeStatus(t *testing.T, ns string, object *unstructured.Unstructured) {
	t.Helper()
	objects := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns)
	if _, err := objects.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"status": object.Object["status"]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := objects.Patch(t.Context(), object.GetName(), types.MergePatchType, patch,
		metav1.PatchOptions{FieldValidation: metav1.FieldValidationStrict}, "status"); err != nil {
		t.Error(err)
	}
}

// TestTheEarlierProgramsObjects: tests/data/earlier.
func TestTheEarlierProgramsObjects(t *testing.T) {
	judged(t)
	ns := cluster.Namespace(t)
	for _, verdict := range []string{"accepted", "refused"} {
		paths, err := filepath.Glob(harness.Root("tests", "data", "earlier", verdict, "*.yaml"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%v, %v", paths, err)
		}
		for _, path := range paths {
			t.Run(verdict+"/"+filepath.Base(path), func(t *testing.T) {
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				object := &unstructured.Unstructured{}
				if err := yaml.UnmarshalStrict(content, &object.Object); err != nil {
					t.Fatal(err)
				}
				err = dryRun(t, ns, object)
				expected := object.GetAnnotations()["expect"]
				switch {
				case verdict == "accepted" && err != nil:
					t.Error(err)
				case verdict == "refused" && (expected == "" || err == nil || !strings.Contains(err.Error(), expected)):
					t.Errorf("want %q, got %v", expected, err)
				}
			})
		}
	}
}
