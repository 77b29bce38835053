// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dbupgrade/tests/cluster/e2e/harness"
)

const bundles = "jsonpath={range .items[*].webhooks[*]}{.clientConfig.caBundle}\n{end}"

// TestTheCABundleIsNoDrift: the reconciler fills in one field of the webhook configurations, which
// the manifests do not have; a tool of GitOps that applies them again leaves it, and sees no
// difference.
func TestTheCABundleIsNoDrift(t *testing.T) {
	if err := cluster.InstallRights(); err != nil {
		t.Fatal(err)
	}
	file := harness.Root("manifests", "base", "webhook-configurations.yaml")
	for how, args := range map[string][]string{
		"applied by the client, as Argo CD does":            nil,
		"applied by the server, as Flux and Argo CD can do": {"--server-side", "--field-manager=gitops", "--force-conflicts"},
	} {
		t.Run(how, func(t *testing.T) {
			get := func(form string) string {
				return cluster.Kubectl(t, "get", "-f", file, "-o", form)
			}
			cluster.Kubectl(t, append([]string{"apply", "-f", file}, args...)...)
			defer cluster.Kubectl(t, "delete", "-f", file)
			harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, "", nil), "--cert-mode=self-managed",
				"--operator-namespace="+harness.SystemNamespace)
			harness.Eventually(t, 30*time.Second, "both have a caBundle", func() error {
				if got := get(bundles); len(strings.Fields(got)) != 2 {
					return fmt.Errorf("%q", got)
				}
				return nil
			})
			before, versions := get(bundles), get("jsonpath={.items[*].metadata.resourceVersion}")
			if _, err := cluster.TryKubectl(append([]string{"diff", "-f", file}, args...)...); err != nil {
				t.Error(err)
			}
			cluster.Kubectl(t, append([]string{"apply", "-f", file}, args...)...)
			if get(bundles) != before || get("jsonpath={.items[*].metadata.resourceVersion}") != versions {
				t.Errorf("applying them again changed them:\n%s", get("yaml"))
			}
		})
	}
}
