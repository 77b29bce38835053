// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// DBUpgrades and CRDs name the resources for the dynamic client.
var (
	DBUpgrades = schema.GroupVersionResource{
		Group: "dbupgrade.subbug.learning", Version: "v1alpha1", Resource: "dbupgrades"}
	CRDs = schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// Kubectl runs kubectl as the cluster's administrator and returns what it printed on stdout. The
// test fails when kubectl does.
func (c *Cluster) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.TryKubectl(args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// TryKubectl is Kubectl for commands that may fail; the error carries stderr.
func (c *Cluster) TryKubectl(args ...string) (string, error) { return c.KubectlInput("", args...) }

// KubectlInput is TryKubectl with something on stdin.
func (c *Cluster) KubectlInput(stdin string, args ...string) (string, error) {
	args = append([]string{"kubectl", "--kubeconfig", c.Kubeconfig, "--cache-dir", c.cacheDir}, args...)
	cmd := exec.Command(Kube(), args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w\n%s", err, indent(stderr.String()))
	}
	return stdout.String(), nil
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// Name makes a DNS label of at most 40 characters from a text such as a test's name.
func Name(text string) string {
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(text), "-"), "-")
	return strings.TrimRight(name[:min(len(name), 40)], "-")
}

// Namespace makes a namespace for the test, and deletes it afterwards unless the control plane goes
// away anyway.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	ns, err := c.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: Name(t.Name()) + "-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.Dir == "" && os.Getenv("E2E_KEEP") == "" {
			_ = c.Client.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
		}
	})
	return ns.Name
}

// Patience is how long a test waits for what has to come: several times what it took on a machine with
// six times the load that it can bear.
const Patience = 3 * time.Minute

// Eventually calls check until it returns nil, and fails the test with its last error when that
// takes longer than timeout.
func Eventually(t testing.TB, timeout time.Duration, what string, check func() error) {
	t.Helper()
	if err := eventually(timeout, check); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// eventually is Eventually without a test.
func eventually(timeout time.Duration, check func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %w", timeout, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
