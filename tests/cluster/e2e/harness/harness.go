// SPDX-License-Identifier: Apache-2.0

// Package harness gives a test package one control plane (etcd, kube-apiserver and
// kube-controller-manager, no node) with the DBUpgrade CRD, and what tests do with it.
//
// A test package starts it once:
//
//	var cluster *harness.Cluster
//
//	func TestMain(m *testing.M) { os.Exit(harness.Run(m, &cluster)) }
//
// Run with go test -count=1: scripts, manifests and tables are not seen by Go's cache of results.
//
// Environment:
//
//	KUBE            the multi-call program; default that of tests/cluster/cached.sh
//	E2E_PORTS       FIRST-LAST, the ports to use; default any free ones
//	E2E_KEEP        if set, directory and processes are left for a look
//	E2E_KUBECONFIG  a cluster to use instead of starting one; its DBUpgrade CRD is replaced
package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// portsPerControlPlane: API server, etcd's two, controller manager.
const portsPerControlPlane = 4

// Cluster is a running control plane and clients of its administrator.
type Cluster struct {
	Kubeconfig string
	Config     *rest.Config
	Client     kubernetes.Interface
	Dynamic    dynamic.Interface

	// Dir holds state, logs and process ids; empty for a cluster that was not started here.
	Dir string

	cacheDir string // kubectl's: discovery of another cluster on the same port would mislead it
}

// Run starts a control plane, prepares it, sets *cluster, runs the tests and stops what it started.
// It returns the exit code for TestMain.
func Run(m *testing.M, cluster **Cluster, prepare ...func(*Cluster) error) int {
	c, err := Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		c.Stop()
		os.Exit(130)
	}()
	defer c.Stop()
	for _, step := range prepare {
		if err := step(c); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
	}
	*cluster = c
	return m.Run()
}

// Start brings up a control plane, or connects to E2E_KUBECONFIG.
func Start() (*Cluster, error) {
	dir, err := os.MkdirTemp("", "dbupgrade-e2e-")
	if err != nil {
		return nil, err
	}
	if path := os.Getenv("E2E_KUBECONFIG"); path != "" {
		c := &Cluster{cacheDir: dir}
		return c, c.connect(path)
	}
	port, err := freePorts(portsPerControlPlane)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, cacheDir: filepath.Join(dir, "kubectl")}
	up := script("up-controlplane.sh", dir, strconv.Itoa(port))
	up.Env = append(os.Environ(), "KUBE="+Kube(), "CRDS="+Root("manifests", "crd"))
	if err := up.Run(); err != nil {
		c.Stop()
		return nil, fmt.Errorf("up-controlplane.sh: %w", err)
	}
	if err := c.connect(filepath.Join(dir, "kubeconfig")); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// Stop ends a control plane that Start began, and removes its directory.
func (c *Cluster) Stop() {
	if c.Dir == "" {
		os.RemoveAll(c.cacheDir)
		return
	}
	if os.Getenv("E2E_KEEP") != "" {
		fmt.Fprintln(os.Stderr, "e2e: kept", c.Dir)
		return
	}
	if err := script("down-controlplane.sh", c.Dir).Run(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: down-controlplane.sh:", err)
		return
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
}

// Restart stops the control plane, calls f with the directory of its state, and starts it again.
func (c *Cluster) Restart(t testing.TB, f func(dir string)) {
	t.Helper()
	host, err := url.Parse(c.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	if err := script("down-controlplane.sh", c.Dir).Run(); err != nil {
		t.Fatal(err)
	}
	f(c.Dir)
	up := script("up-controlplane.sh", c.Dir, host.Port())
	up.Env = append(os.Environ(), "KUBE="+Kube())
	if err := up.Run(); err != nil {
		t.Fatal(err)
	}
}

// Pid is the process id of a program of the control plane, such as "kube-apiserver".
func (c *Cluster) Pid(t testing.TB, program string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.Dir, "run", program+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func (c *Cluster) connect(kubeconfig string) (err error) {
	c.Kubeconfig = kubeconfig
	if c.Config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
		return err
	}
	c.Config.QPS = -1 // the API server limits, not the test
	c.Config.WarningHandler = rest.NoWarnings{}
	if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
		return err
	}
	c.Dynamic, err = dynamic.NewForConfig(c.Config)
	return err
}

// Kube is the path of the multi-call program, "kube NAME ARGS...".
var Kube = sync.OnceValue(func() string {
	if path := os.Getenv("KUBE"); path != "" {
		return path
	}
	out, err := script("cached.sh", "kube").Output()
	if err != nil {
		panic(fmt.Sprint("cached.sh kube: ", err))
	}
	return strings.TrimSpace(string(out))
})

// Root is the path of the project's root, or of what lies below it.
func Root(elem ...string) string {
	dir, err := os.Getwd() // of a test: its package's directory
	if err != nil {
		panic(err)
	}
	for !exists(filepath.Join(dir, "go.mod")) {
		if dir == filepath.Dir(dir) {
			panic("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	return filepath.Join(append([]string{dir, "..", "..", ".."}, elem...)...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// script of tests/cluster.
func script(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(Root("tests", "cluster", name), args...)
	cmd.Stderr = os.Stderr
	return cmd
}

// Below what Linux gives to outgoing connections, any of which could take a port before it is used.
const portsFrom, portsTo = 10240, 32768

// freePorts finds n free ports in a row. They may be taken before they are used: whoever starts
// several control planes at once gives each its E2E_PORTS.
func freePorts(n int) (int, error) {
	if ports := os.Getenv("E2E_PORTS"); ports != "" {
		var first, last int
		if _, err := fmt.Sscanf(ports, "%d-%d", &first, &last); err != nil {
			return 0, fmt.Errorf("E2E_PORTS=%s: %w", ports, err)
		}
		for port := first; port+n-1 <= last; port += n {
			if allFree(port, n) {
				return port, nil
			}
		}
		return 0, fmt.Errorf("no %d free ports in a row in %s", n, ports)
	}
	for range 100 {
		port := portsFrom + rand.IntN(portsTo-portsFrom-n)
		if allFree(port, n) {
			return port, nil
		}
	}
	return 0, errors.New("no free ports")
}

// FreePort finds a free port.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// FreeAddress is such a port of the loopback, as "host:port".
func FreeAddress(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", FreePort(t))
}

func allFree(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// indent makes multi-line output stand out in a test's log.
func indent(text string) string {
	return "\t" + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n\t")
}
