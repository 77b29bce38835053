// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"dbupgrade/tests/cluster/e2e/harness"
)

const configMap = `# Made from argocd-health.lua by tests/cluster/e2e/gitops (UPDATE_DOCS=1). Argo CD takes it without a
# restart:
#   kubectl patch configmap argocd-cm -n argocd --patch-file manifests/gitops/argocd-cm.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
data:
  resource.customizations.health.dbupgrade.subbug.learning_DBUpgrade: |
`

// TestArgoCDConfigMap keeps the ConfigMap the same as the script, which is what is tested.
func TestArgoCDConfigMap(t *testing.T) {
	script, err := HealthScript()
	if err != nil {
		t.Fatal(err)
	}
	text := configMap
	for line := range strings.Lines(script) {
		if line != "\n" {
			line = "    " + line
		}
		text += line
	}
	harness.Document(t, harness.Root("manifests", "gitops", "argocd-cm.yaml"), "", text)
	var object struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	if got := object.Data["resource.customizations.health.dbupgrade.subbug.learning_DBUpgrade"]; got != script {
		t.Errorf("Argo CD would read %q", got)
	}
}
