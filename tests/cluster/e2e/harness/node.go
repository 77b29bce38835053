// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Node is a whole cluster of one node, with a PostgreSQL beside it and the operator in it, from its
// image and by its manifests.
//
// A test package starts it once:
//
//	var node *harness.Node
//
//	func TestMain(m *testing.M) { os.Exit(harness.RunNode(m, &node)) }
//
// Environment:
//
//	E2E_NODE_DIR  where it lives; default /var/lib/dbupgrade-e2e; two at once need two
//	E2E_KEEP      if set, it is left running, and the next run goes on with it
type Node struct {
	*Cluster
	dir string
}

// RunNode starts it, sets *node, runs the tests and stops it. It returns the exit code for TestMain.
func RunNode(m *testing.M, node **Node) int {
	dir := os.Getenv("E2E_NODE_DIR")
	if dir == "" {
		dir = "/var/lib/dbupgrade-e2e" // the user postgres has to reach it
	}
	n := &Node{&Cluster{cacheDir: filepath.Join(dir, "run", "kubectl")}, dir}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		n.stop()
		os.Exit(130)
	}()
	if os.Getenv("E2E_KEEP") == "" {
		n.stop() // what a run that was killed has left
		defer n.stop()
	}
	begun := time.Now()
	if err := n.start(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "e2e: the node is up after %.0f s\n", time.Since(begun).Seconds())
	*node = n
	return m.Run()
}

func (n *Node) start() error {
	image := exec.Command(Root("script", "image"))
	image.Stderr = os.Stderr
	archive, err := image.Output()
	if err != nil {
		return fmt.Errorf("script/image: %w", err)
	}
	port, err := freePorts(1) // all others are in a network of its own
	if err != nil {
		return err
	}
	up := script("sandbox.sh", "start", n.dir, strconv.Itoa(port))
	up.Env = append(os.Environ(), "KUBE="+Kube(), "IMAGES="+strings.TrimSpace(string(archive)))
	if err := up.Run(); err != nil {
		return fmt.Errorf("sandbox.sh start: %w", err)
	}
	if err := n.connect(filepath.Join(n.dir, "kubeconfig")); err != nil {
		return err
	}
	if _, err := n.Exec(Root("tests", "cluster", "postgres.sh"), "start", filepath.Join(n.dir, "postgres")); err != nil {
		return err
	}
	return n.Install()
}

func (n *Node) stop() {
	if err := script("sandbox.sh", "stop", n.dir).Run(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: sandbox.sh stop:", err)
		return
	}
	if err := os.RemoveAll(n.dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
}

// Install installs the operator as users do, and waits until it runs.
func (n *Node) Install() error {
	if _, err := n.TryKubectl("apply", "-k", Root("manifests", "base")); err != nil {
		return err
	}
	return n.AwaitOperator()
}

// AwaitOperator waits until all Pods of the operator are ready.
func (n *Node) AwaitOperator() error {
	_, err := n.TryKubectl("rollout", "status", "-n", SystemNamespace, "deployment", "--timeout=120s")
	if err != nil {
		pods, _ := n.TryKubectl("describe", "pods", "-n", SystemNamespace)
		err = fmt.Errorf("%w\n%s\nlogs:\n%s", err, indent(pods), indent(n.OperatorLogs()))
	}
	return err
}

// OperatorLogs is what the containers of the operator have printed, those that have restarted
// included; those of deleted Pods are gone.
func (n *Node) OperatorLogs() string {
	files, _ := filepath.Glob(filepath.Join(n.dir, "log", "pods", SystemNamespace+"_*", "*", "*.log"))
	var all strings.Builder
	for _, file := range files {
		text, _ := os.ReadFile(file)
		all.Write(text)
	}
	return all.String()
}

// Exec runs a command among the processes of the node, in its network, and returns what it printed.
func (n *Node) Exec(command ...string) (string, error) {
	out, err := script("sandbox.sh", append([]string{"exec", n.dir}, command...)...).Output()
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	return string(out), err
}

// WithoutAPIServer calls f while the API server is gone, as if its machine had failed.
func (n *Node) WithoutAPIServer(t testing.TB, f func()) {
	t.Helper()
	host, err := url.Parse(n.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := os.ReadFile(filepath.Join(n.dir, "run", "kube-apiserver.pid"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Exec("kill", "-9", strings.TrimSpace(string(pid))); err != nil {
		t.Fatal(err)
	}
	f()
	// The address of Pods' API server is that of up-node.sh.
	_, err = n.Exec("env", "IP=10.244.0.1", "KUBE="+Kube(), Root("tests", "cluster", "up-controlplane.sh"), n.dir, host.Port())
	if err != nil {
		t.Fatal(err)
	}
}

// Pids are the process ids of a program on the node, for Exec.
func (n *Node) Pids(t testing.TB, program string) []string {
	t.Helper()
	out, err := n.Exec("pidof", program)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)
}

// SQL runs a query in a database and returns the rows, their columns separated by "|".
func (n *Node) SQL(t testing.TB, database, query string) string {
	t.Helper()
	cmd := exec.Command("psql", "-h", filepath.Join(n.dir, "postgres"), "-U", "app", "-d", database, "-qtAc", query)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", query, err, indent(string(out)))
	}
	return strings.TrimSpace(string(out))
}
