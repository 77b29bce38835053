// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dbupgrade/tests/cluster/e2e/harness"
)

// schemas writes a JSON schema for each kind that the API server serves, the CRDs of this project
// and of others among them, for kubeconform: closed, so that an unknown member is an error.
func schemas(t *testing.T) string {
	t.Helper()
	cluster.Kubectl(t, "apply", "--server-side", "-f", harness.Cached(t, "crds"))
	cluster.Kubectl(t, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	dir := t.TempDir()
	for _, group := range []string{"api/v1", "apis/apps/v1", "apis/policy/v1", "apis/rbac.authorization.k8s.io/v1",
		"apis/scheduling.k8s.io/v1", "apis/networking.k8s.io/v1", "apis/admissionregistration.k8s.io/v1",
		"apis/apiextensions.k8s.io/v1", "apis/cert-manager.io/v1", "apis/monitoring.coreos.com/v1"} {
		harness.Eventually(t, 30*time.Second, "OpenAPI of "+group, func() error { return writeSchemas(dir, group) })
	}
	return dir
}

func writeSchemas(dir, group string) error {
	text, err := cluster.TryKubectl("get", "--raw", "/openapi/v3/"+group)
	if err != nil {
		return err
	}
	var document struct {
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		return err
	}
	kinds := map[string]string{} // file → schema
	for name, schema := range document.Components.Schemas {
		seal(schema)
		list, _ := schema["x-kubernetes-group-version-kind"].([]any)
		if len(list) != 1 { // several: DeleteOptions and such
			continue
		}
		kind := list[0].(map[string]any)
		suffix := strings.Split(kind["group"].(string), ".")[0]
		if suffix != "" {
			suffix = "-" + suffix
		}
		kinds[strings.ToLower(kind["kind"].(string))+suffix+"-"+kind["version"].(string)+".json"] = name
	}
	if len(kinds) == 0 {
		return fmt.Errorf("no kinds")
	}
	for file, name := range kinds {
		out, err := json.Marshal(map[string]any{"$schema": "http://json-schema.org/draft-07/schema#",
			"$ref": "#/components/schemas/" + name, "components": document.Components})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), out, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// seal makes every object with known members refuse others.
func seal(schema map[string]any) {
	properties, _ := schema["properties"].(map[string]any)
	if properties != nil && schema["x-kubernetes-preserve-unknown-fields"] == nil && schema["additionalProperties"] == nil {
		schema["additionalProperties"] = false
	}
	for _, property := range properties {
		seal(property.(map[string]any))
	}
	for _, member := range []string{"items", "additionalProperties"} {
		if sub, ok := schema[member].(map[string]any); ok {
			seal(sub)
		}
	}
}
