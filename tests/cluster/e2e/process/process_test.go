// SPDX-License-Identifier: Apache-2.0

// Package process judges how the programs begin, end and keep secrets, as processes of the system.
// Needs root: it reads the memory of processes and makes a pid name space.
package process

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

func TestMain(m *testing.M) {
	os.Exit(harness.RunAudited(m, &cluster, (*harness.Cluster).InstallRights, (*harness.Cluster).KubeletNode))
}

const password = "correct-horse-battery-staple"

// upgrade makes a namespace with a connection Secret and a DBUpgrade whose migration hangs.
func upgrade(t *testing.T) (ns string, kubelet *harness.Kubelet) {
	t.Helper()
	ns = cluster.Namespace(t)
	kubelet = cluster.NewKubelet(t, ns)
	harness.Eventually(t, harness.Patience, "the default service account", func() error {
		_, err := cluster.Client.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	_, err := cluster.Client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "db"}, StringData: map[string]string{"url": "postgres://app:" + password + "@db/app"}},
		metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns).Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade", "metadata": map[string]any{"name": "shop"},
		"spec": map[string]any{"migrations": map[string]any{"image": "shop/migrations:hang-1"},
			"database": map[string]any{"type": "selfHosted", "connection": map[string]any{"urlSecretRef": map[string]any{"name": "db", "key": "url"}}}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns, kubelet
}

func awaitReason(t *testing.T, ns, want string) {
	t.Helper()
	harness.Eventually(t, harness.Patience, want, func() error {
		object, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns).Get(t.Context(), "shop", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if reason := harness.Text(object, "status", "reason"); reason != want {
			return fmt.Errorf("%s: %s", reason, harness.Text(object, "status", "message"))
		}
		return nil
	})
}

// findInMemory looks for texts in all that a process can write.
func findInMemory(t *testing.T, pid int, texts map[string]string) (bytesRead int) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	for line := range strings.Lines(string(maps)) {
		var first, last int64
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &first, &last, &mode); n != 3 || !strings.HasPrefix(mode, "rw") {
			continue
		}
		part := make([]byte, last-first)
		n, err := memory.ReadAt(part, first)
		if err != nil {
			t.Logf("%s: %v", strings.TrimSpace(line), err)
		}
		bytesRead += n
		for what, text := range texts {
			for at := 0; ; at++ {
				next := bytes.Index(part[at:n], []byte(text))
				if next < 0 {
					break
				}
				at += next
				t.Errorf("%s at %#x of %s: %q", what, first+int64(at), strings.TrimSpace(line), part[max(0, at-60):min(n, at+60)])
			}
		}
	}
	return bytesRead
}

// A core dump, a debugger or a bug that reads too far must not find what is no longer needed.
func TestSecretsAreWiped(t *testing.T) {
	ns, kubelet := upgrade(t)
	r := harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, "", nil), "--cert-mode=self-managed",
		"--operator-namespace="+harness.SystemNamespace, "--log-level=debug")
	awaitReason(t, ns, "JobRunning")
	kubelet.Finish("hang-1", 0)
	awaitReason(t, ns, "MigrationComplete")
	texts := map[string]string{
		"the password":           password,
		"the password in base64": base64.StdEncoding.EncodeToString([]byte("postgres://app:" + password))[:40],
	}
	for _, name := range []string{"dbupgrade-webhook-ca", "dbupgrade-webhook-cert"} {
		harness.Eventually(t, harness.Patience, name, func() error {
			secret, err := cluster.Client.CoreV1().Secrets(harness.SystemNamespace).Get(t.Context(), name, metav1.GetOptions{})
			if err == nil {
				// Both forms lack their first characters, which all keys have.
				key := secret.Data["tls.key"]
				texts["the key of "+name] = string(key[len("-----BEGIN PRIVATE KEY-----\n")+40:][:24])
				texts["the key of "+name+" in base64"] = base64.StdEncoding.EncodeToString(key)[120:160]
			}
			return err
		})
	}
	time.Sleep(2 * time.Second) // the keeper's last pass
	if n := findInMemory(t, r.Pid(), texts); n < 1<<20 {
		t.Errorf("only %d bytes have been read", n)
	}
	r.Stop(t)
}

// Whatever the limits of who starts it, and also when it is no child of a shell.
func TestNoCoreDump(t *testing.T) {
	ca := harness.NewCA(t)
	dir := t.TempDir()
	ca.Write(t, dir, time.Hour)
	for _, program := range [][]string{
		{harness.Binary(t, "DBUPGRADE_RECONCILER"), "--kubeconfig=" + cluster.ReconcilerKubeconfig(t, "", nil),
			"--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-format=json"},
		{harness.Binary(t, "DBUPGRADE_WEBHOOK"), fmt.Sprintf("--webhook-port=%d", harness.FreePort(t)), "--webhook-cert-path=" + dir,
			"--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-format=json"},
	} {
		t.Run(program[0][strings.LastIndex(program[0], "/")+1:], func(t *testing.T) {
			p := harness.StartProcess(t, "sh", append([]string{"-c", `ulimit -c unlimited; cd ` + dir + `; exec "$0" "$@"`}, program...)...)
			harness.Eventually(t, harness.Patience, "it runs", func() error {
				if !strings.Contains(p.Log(), `"msg":"`) {
					return fmt.Errorf("its log: %s", p.Log())
				}
				return nil
			})
			limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.Pid()))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(limits)) {
				if fields := strings.Fields(line); strings.HasPrefix(line, "Max core file size") && (fields[4] != "0" || fields[5] != "0") {
					t.Error(line)
				}
			}
			p.Signal(t, syscall.SIGABRT)
			p.Wait(t, harness.Patience)
			if status := p.Status(); !status.Signaled() || status.CoreDump() {
				t.Errorf("signaled %v, core dump %v", status.Signaled(), status.CoreDump())
			}
		})
	}
}

// The kernel ignores signals to process 1 that it has no handler for.
func TestAsTheFirstProcess(t *testing.T) {
	p := harness.StartProcess(t, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
		harness.Binary(t, "DBUPGRADE_RECONCILER"), "--kubeconfig="+cluster.ReconcilerKubeconfig(t, "", nil),
		"--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-format=json")
	harness.Eventually(t, harness.Patience, "it has started", func() error {
		if !strings.Contains(p.Log(), `"msg":"started"`) {
			return fmt.Errorf("its log: %s", p.Log())
		}
		return nil
	})
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Sscan(string(children), &child); err != nil {
		t.Fatalf("%q: %v", children, err)
	}
	if err := syscall.Kill(child, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.Wait(t, harness.Patience); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(p.Log(), `"msg":"stopped"`) {
		t.Error("it has not ended in order")
	}
}

// holdUp makes a proxy hold requests of a kind up until the test ends; each is told by the channel.
func holdUp(t *testing.T, proxy *harness.Proxy, method, path string) <-chan struct{} {
	t.Helper()
	held, hold := make(chan struct{}, 100), make(chan struct{})
	t.Cleanup(func() { close(hold) })
	proxy.Before = func(e *harness.Exchange) bool {
		if e.Method != method || !strings.Contains(e.URL, path) {
			return true
		}
		held <- struct{}{}
		<-hold
		return false
	}
	return held
}

// The first SIGTERM lets a pass under way come to its end, the second does not wait for it.
func TestTwoSignals(t *testing.T) {
	proxy := cluster.NewProxy(t)
	held := holdUp(t, proxy, "POST", "/jobs")
	ns, _ := upgrade(t)
	r := harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, proxy.URL, proxy.CA), "--namespace="+ns)
	<-held
	r.Signal(t, syscall.SIGTERM)
	harness.Eventually(t, harness.Patience, "it stops", func() error {
		if !strings.Contains(r.Log(), `"msg":"stopping"`) {
			return fmt.Errorf("its log: %s", r.Log())
		}
		return nil
	})
	time.Sleep(time.Second)
	if !r.Running() {
		t.Fatal("it has not waited for its pass")
	}
	r.Signal(t, syscall.SIGTERM)
	if code := r.Wait(t, harness.Patience); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// The kubelet kills after 30 s; whom it kills leaves a Lease behind that the next one waits for.
func TestAPassThatIsHeldUpIsCutOff(t *testing.T) {
	proxy := cluster.NewProxy(t)
	held := holdUp(t, proxy, "GET", "/secrets/")
	ns, _ := upgrade(t)
	r := harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, proxy.URL, proxy.CA), "--namespace="+ns)
	<-held
	r.Signal(t, syscall.SIGTERM)
	if code := r.Wait(t, 25*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(r.Log(), `"msg":"stopped"`) {
		t.Error("it has not ended in order")
	}
}

// What the command line cannot mean ends the program at once, and says what is wrong.
func TestFlagsAreRefused(t *testing.T) {
	for _, tt := range []struct{ flags, want string }{
		{"--cert-lifetime=59s --cert-propagation=10s", "--ca-lifetime and --cert-lifetime must be at least 6 times --cert-propagation"},
		{"--ca-lifetime=11m", "--ca-lifetime and --cert-lifetime must be at least 6 times --cert-propagation"},
		{"--cert-mode=other", "--cert-mode=other: must be self-managed or none"},
		{"--cert-lifetime=1s", "--cert-lifetime"},
	} {
		t.Run(tt.flags, func(t *testing.T) {
			p := harness.StartProcess(t, harness.Binary(t, "DBUPGRADE_RECONCILER"), strings.Fields(tt.flags)...)
			if code := p.Wait(t, harness.Patience); code != 2 || !strings.Contains(p.Log(), tt.want) {
				t.Errorf("exit code %d: %s", code, p.Log())
			}
		})
	}
}
