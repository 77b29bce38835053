// SPDX-License-Identifier: Apache-2.0

// Package plugin uses `kubectl dbu` as a person or a script does: found by kubectl in PATH, against
// a real API server and the reconciler. The tests play the kubelet, its logs too.
package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m, &cluster, (*harness.Cluster).InstallRights, (*harness.Cluster).KubeletNode, serveLogs))
}

// printed is the log of every migration.
const printed = "Migrating to version 20260103000000 (1 migrations in total)\n"

// serveLogs plays the part of the kubelet that kubectl logs ends at.
func serveLogs(c *harness.Cluster) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/migrate", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, printed)
	})
	pki := filepath.Join(c.Dir, "pki")
	go func() {
		_ = http.ServeTLS(listener, mux, filepath.Join(pki, "kubelet.crt"), filepath.Join(pki, "kubelet.key"))
	}()
	nodes := c.Client.CoreV1().Nodes()
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		list, err := nodes.List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		node := &list.Items[0] // that of KubeletNode
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
		node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(listener.Addr().(*net.TCPAddr).Port)
		_, err = nodes.UpdateStatus(context.Background(), node, metav1.UpdateOptions{})
		return err
	})
}

// world is a namespace with a kubelet, in which a test plays.
type world struct {
	*testing.T
	ns      string
	kubelet *harness.Kubelet
	path    string // PATH with kubectl and the plugin
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, ns: cluster.Namespace(t), path: plugged(t)}
	w.kubelet = cluster.NewKubelet(t, w.ns)
	harness.Eventually(t, harness.Patience, "the default service account", func() error {
		_, err := cluster.Client.CoreV1().ServiceAccounts(w.ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	return w
}

// plugged makes a PATH in which kubectl, the plugin and its completion are found.
func plugged(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, target := range map[string]string{
		"kubectl":              harness.Kube(),
		"kubectl-dbu":          harness.Binary(t, "DBUPGRADE_PLUGIN"),
		"kubectl_complete-dbu": "kubectl-dbu",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir + ":" + os.Getenv("PATH")
}

// start runs a reconciler for this namespace.
func (w *world) start() {
	w.Helper()
	harness.StartReconciler(w, cluster.ReconcilerKubeconfig(w, "", nil), "--namespace="+w.ns)
}

// answer is what a command left behind.
type answer struct {
	code     int
	out, err string
}

// command prepares a program of w.path; the environment of a person without a terminal.
func (w *world) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(w.Context(), "/usr/bin/env", append([]string{name}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+w.path, "KUBECONFIG="+cluster.Kubeconfig, "HOME="+w.TempDir(), "NO_COLOR=", "TERM=xterm")
	return cmd
}

func (w *world) run(cmd *exec.Cmd) answer {
	w.Helper()
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatalf("%v: %v", cmd.Args, err)
	}
	return answer{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// dbu runs `kubectl dbu` for this namespace.
func (w *world) dbu(args ...string) answer {
	w.Helper()
	return w.run(w.command("kubectl", append(append([]string{"dbu"}, args...), "-n", w.ns)...))
}

// onTerminal runs it with a terminal of 80 columns; all of what that shows is in out.
func (w *world) onTerminal(environment string, args ...string) answer {
	w.Helper()
	line := "stty cols 80; exec kubectl dbu " + strings.Join(args, " ") + " -n " + w.ns
	cmd := w.command("script", "-qec", line, "/dev/null")
	cmd.Env = append(cmd.Env, environment)
	return w.run(cmd)
}

// later runs `kubectl dbu` meanwhile.
func (w *world) later(args ...string) <-chan answer {
	w.Helper()
	done := make(chan answer, 1)
	go func() { done <- w.dbu(args...) }()
	return done
}

// want checks an exit code, and what is in stdout and stderr together.
func (w *world) want(got answer, code int, parts ...string) {
	w.Helper()
	if got.code != code {
		w.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", got.code, code, got.out, got.err)
	}
	for _, part := range parts {
		if !strings.Contains(got.out+got.err, part) {
			w.Errorf("%q is missing\nstdout: %s\nstderr: %s", part, got.out, got.err)
		}
	}
}

// eventually repeats a command until it prints what it should.
func (w *world) eventually(code int, parts []string, args ...string) answer {
	w.Helper()
	var got answer
	harness.Eventually(w, harness.Patience, strings.Join(args, " "), func() error {
		got = w.dbu(args...)
		for _, part := range parts {
			if got.code != code || !strings.Contains(got.out+got.err, part) {
				return fmt.Errorf("exit code %d; want %q\n%s%s", got.code, part, got.out, got.err)
			}
		}
		return nil
	})
	return got
}

// parse reads -o json.
func (w *world) parse(got answer) map[string]any {
	w.Helper()
	var document map[string]any
	if err := json.Unmarshal([]byte(got.out), &document); err != nil {
		w.Fatalf("%v\n%s%s", err, got.out, got.err)
	}
	return document
}

// object as a user writes it; the image's tag says what happens (harness.Kubelet).
func object(name, tag string) string {
	return `{"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade", "metadata": {"name": "` + name + `"},
		"spec": {"migrations": {"image": "shop/migrations:` + tag + `"}, "database": {"type": "selfHosted",
		"connection": {"urlSecretRef": {"name": "shop-db"}}}}}`
}

func (w *world) apply(text string) {
	w.Helper()
	if _, err := cluster.KubectlInput(text, "apply", "-n", w.ns, "-f", "-"); err != nil {
		w.Fatal(err)
	}
}

func (w *world) kubectl(args ...string) string {
	w.Helper()
	return cluster.Kubectl(w, append(args, "-n", w.ns)...)
}

func (w *world) secret() {
	w.Helper()
	w.kubectl("create", "secret", "generic", "shop-db", "--from-literal=url=postgres://app:x@db/app")
}

// patchSpec changes the spec by a merge patch.
func (w *world) patchSpec(name, patch string) {
	w.Helper()
	w.kubectl("patch", "dbu", name, "--type=merge", "-p", `{"spec":`+patch+`}`)
}

// writeStatus plays the operator.
func (w *world) writeStatus(name string, status map[string]any) {
	w.Helper()
	patch, err := json.Marshal(map[string]any{"status": status})
	if err == nil {
		_, err = cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(w.ns).Patch(w.Context(), name,
			types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	if err != nil {
		w.Fatal(err)
	}
}

// ready is the status of an object that is done, judged for a generation.
func ready(generation int64) map[string]any {
	return map[string]any{
		"observedGeneration": generation, "reason": "MigrationComplete", "message": "Migration completed successfully in 3s",
		"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "MigrationComplete",
			"message": "", "observedGeneration": generation, "lastTransitionTime": "2026-11-24T12:00:00Z"}},
	}
}

func (w *world) get(name string) *unstructured.Unstructured {
	w.Helper()
	object, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(w.ns).Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return object
}
