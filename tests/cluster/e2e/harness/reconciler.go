// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// SystemNamespace is where manifests/base puts the operator.
const SystemNamespace = "dbupgrade-system"

// Binary is the path of a program that was built before the tests.
func Binary(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s is not set: script/test-api builds the program and sets it", variable)
	}
	return path
}

// InstallRights gives the cluster the operator's service accounts and roles as they are shipped.
func (c *Cluster) InstallRights() error {
	for _, file := range []string{"namespace.yaml", "rbac.yaml"} {
		if _, err := c.TryKubectl("apply", "-f", Root("manifests", "base", file)); err != nil {
			return err
		}
	}
	return nil
}

// ReconcilerKubeconfig is AccountKubeconfig of the shipped service account.
func (c *Cluster) ReconcilerKubeconfig(t testing.TB, server string, ca []byte) string {
	t.Helper()
	return c.AccountKubeconfig(t, SystemNamespace, "dbupgrade-reconciler", server, ca)
}

// AccountKubeconfig writes a kubeconfig of a service account into a directory of the test. server
// and ca (PEM) are those of a proxy; the API server's own when server is empty.
func (c *Cluster) AccountKubeconfig(t testing.TB, namespace, account, server string, ca []byte) string {
	t.Helper()
	seconds := int64(3600)
	token, err := c.Client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}},
		metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if server == "" {
		server = c.Config.Host
		if ca, err = os.ReadFile(c.Config.CAFile); err != nil {
			t.Fatal(err)
		}
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// Reconciler is a running dbupgrade-reconciler.
type Reconciler struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	log  *lockedBuffer
}

// lockedBuffer takes what a process prints while a test may already read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// StartReconciler starts one; the test's end kills it. Its log is shown when the test has failed.
func StartReconciler(t testing.TB, kubeconfig string, args ...string) *Reconciler {
	t.Helper()
	r := &Reconciler{done: make(chan struct{}), log: &lockedBuffer{}}
	r.cmd = exec.Command(Binary(t, "DBUPGRADE_RECONCILER"), append([]string{
		"--kubeconfig=" + kubeconfig, "--metrics-bind-address=0", "--health-probe-bind-address=0",
		"--log-format=json", "--log-level=debug"}, args...)...)
	r.cmd.Stderr = r.log
	// The harness may be killed: its reconcilers must not go on by themselves.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() {
		r.Kill()
		if t.Failed() {
			t.Logf("reconciler %d:\n%s", r.cmd.Process.Pid, indent(r.Log()))
		}
	})
	return r
}

// Log is what it has printed so far.
func (r *Reconciler) Log() string { return r.log.String() }

// Pid is its process id.
func (r *Reconciler) Pid() int { return r.cmd.Process.Pid }

// Running says whether it has not ended.
func (r *Reconciler) Running() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// Kill ends it at once.
func (r *Reconciler) Kill() {
	_ = r.cmd.Process.Kill()
	<-r.done
}

// Signal sends it a signal.
func (r *Reconciler) Signal(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// Wait waits for its end and returns the exit code, -1 for a signal.
func (r *Reconciler) Wait(t testing.TB, timeout time.Duration) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	select {
	case <-r.done:
	case <-ctx.Done():
		t.Fatalf("the reconciler has not ended within %v", timeout)
	}
	return r.cmd.ProcessState.ExitCode()
}

// Stop ends it as the kubelet does, and fails the test unless it ends well.
func (r *Reconciler) Stop(t testing.TB) {
	t.Helper()
	r.Signal(t, syscall.SIGTERM)
	if code := r.Wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

// Complaints are the lines of the log that tell of warnings and errors.
func (r *Reconciler) Complaints() []string {
	var lines []string
	for line := range strings.Lines(r.Log()) {
		if !strings.Contains(line, `"level":"debug"`) && !strings.Contains(line, `"level":"info"`) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// Memory is a line of /proc/PID/smaps_rollup in KiB, such as "Rss" or "Private_Dirty".
func Memory(t testing.TB, pid int, what string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, what+":"); ok {
			var kib int
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatalf("no %s in smaps_rollup", what)
	return 0
}
