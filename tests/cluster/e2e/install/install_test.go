// SPDX-License-Identifier: Apache-2.0

// Package install judges every way to install the operator: the manifests with all that can be
// added to them, and the Helm chart. There is no node, so no process of the operator runs.
package install

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

func TestMain(m *testing.M) { os.Exit(harness.Run(m, &cluster)) }

// system is where the manifests put the operator.
const system = harness.SystemNamespace

func chart() string { return harness.Root("manifests", "chart") }

// overlays are the directories that people apply, manifests/base among them.
func overlays(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(harness.Root("manifests", "overlays", "*"))
	if err != nil || len(all) < 4 {
		t.Fatalf("overlays: %v %v", all, err)
	}
	return append(all, harness.Root("manifests", "base"))
}

func kustomize(t *testing.T, dir string) string {
	t.Helper()
	return cluster.Kubectl(t, "kustomize", dir)
}

// helm runs helm, which must succeed.
func helm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := cluster.Helm(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// template renders the chart with the values of a YAML text.
func template(t *testing.T, values string) (string, error) {
	t.Helper()
	return cluster.Helm(t, "template", "dbupgrade", chart(), "-n", system, "-f", write(t, "values.yaml", values))
}

// write makes a file in a directory of the test.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a program of the cache with something on stdin.
func run(t *testing.T, stdin, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(harness.Cached(t, program), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// objects reads the documents of a YAML text.
func objects(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) > 0 {
			all = append(all, object)
		}
	}
}

// key names an object.
func key(object *unstructured.Unstructured) string {
	return object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()
}
