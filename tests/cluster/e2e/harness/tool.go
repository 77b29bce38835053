// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Cached is the path of what tests/cluster/cached.sh makes under this name; built the first time.
func Cached(t testing.TB, name string) string {
	t.Helper()
	out, err := script("cached.sh", name).Output()
	if err != nil {
		t.Fatalf("cached.sh %s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// Helm runs helm as the cluster's administrator and returns what it printed on stdout; the error
// carries stderr. Nothing of the user's own configuration is seen.
func (c *Cluster) Helm(t testing.TB, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	cmd := exec.Command(Cached(t, "helm"), args...)
	cmd.Env = []string{"KUBECONFIG=" + c.Kubeconfig, "HOME=" + home, "PATH=/usr/bin:/bin"}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("helm %s: %w\n%s", strings.Join(args, " "), err, indent(stderr.String()+stdout.String()))
	}
	return stdout.String(), nil
}

// Shell runs a command line as people type it, with kubectl, and helm where it has been built, in a
// directory and in a namespace, and returns what it printed.
func (c *Cluster) Shell(t testing.TB, dir, namespace, command string) (string, error) {
	t.Helper()
	bin, config := t.TempDir(), filepath.Join(t.TempDir(), "kubeconfig")
	for name, path := range map[string]string{"kubectl": Kube(), "helm": Cached(t, "helm")} {
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(c.Kubeconfig)
	if err == nil {
		err = os.WriteFile(config, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.TryKubectl("config", "set-context", "--current", "--kubeconfig", config, "--namespace", namespace); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-euc", command)
	cmd.Dir = dir
	cmd.Env = []string{"KUBECONFIG=" + config, "HOME=" + t.TempDir(), "PATH=" + bin + ":/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", command, err, indent(string(out)))
	}
	return string(out), err
}

// Commands are the commands in a text such as a chart's notes: lines that are indented by four
// spaces, each block a command or, where a line neither goes on nor is in a here-document, several.
func Commands(text string) []string {
	var commands []string
	var end string // of the here-document
	more := false
	for line := range strings.Lines(text) {
		command, ok := strings.CutPrefix(line, "    ")
		switch command = strings.TrimRight(command, "\n"); {
		case !ok:
			end, more = "", false
			continue
		case end != "" || more:
			commands[len(commands)-1] += "\n" + command
		default:
			commands = append(commands, command)
		}
		if command == end {
			end = ""
		} else if _, word, ok := strings.Cut(command, "<<"); ok {
			end = strings.TrimSpace(word)
		}
		more = strings.HasSuffix(command, "\\")
	}
	return commands
}
