// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dbupgrade/tests/cluster/e2e/harness"
)

// The blocks of docs/quick-start.md that a reader runs on the cluster of script/demo.
var blocks = regexp.MustCompile("(?ms)^```sh( fails)?\n(.*?)^```$")

// quickStart runs them in one shell, here.
func quickStart(t *testing.T) {
	text, err := os.ReadFile(harness.Root("docs", "quick-start.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := blocks.FindAllStringSubmatch(string(text), -1)
	if len(found) < 8 {
		t.Fatalf("only %d blocks", len(found))
	}
	script := "set -euo pipefail\n"
	for _, block := range found {
		if block[1] == "" {
			script += block[2]
		} else {
			script += "if\n" + block[2] + "then echo 'not refused' >&2; exit 1; fi\n"
		}
	}
	// Its kubeconfig is changed, and other tests go on with theirs.
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content, err := os.ReadFile(node.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, kubeconfig, content)
	const demo = "/var/lib/dbupgrade-demo"
	script = strings.ReplaceAll(script, demo+"/kubeconfig", kubeconfig)
	script = strings.ReplaceAll(script, demo, filepath.Dir(node.Kubeconfig))
	kubectl := filepath.Join(t.TempDir(), "kubectl")
	if err := os.Symlink(harness.Kube(), kubectl); err != nil {
		t.Fatal(err)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", script)
	shell.Dir = harness.Root()
	shell.Env = append(os.Environ(), "PATH="+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "\n5 localhost/migrations:v3-fixed Succeeded\n4 localhost/migrations:v3-broken Failed\n") {
		t.Errorf("not what the document shows:\n%s", out)
	}
}
