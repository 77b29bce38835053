// SPDX-License-Identifier: Apache-2.0

package process

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"dbupgrade/tests/cluster/e2e/harness"
)

// connect starts a reconciler with an environment and waits until it has read its first lists.
func connect(t *testing.T, env []string, args ...string) *harness.Process {
	t.Helper()
	port := harness.FreePort(t)
	p := harness.StartProcess(t, "env", append(append([]string{"-u", "KUBECONFIG"}, env...), append([]string{
		harness.Binary(t, "DBUPGRADE_RECONCILER"), "--metrics-bind-address=0", "--log-format=json",
		fmt.Sprintf("--health-probe-bind-address=127.0.0.1:%d", port)}, args...)...)...)
	harness.Eventually(t, harness.Patience, "it is ready", func() error {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", port))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", response.Status)
		}
		return nil
	})
	return p
}

func write(t *testing.T, config *clientcmdapi.Config, path string) string {
	t.Helper()
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, path string) *clientcmdapi.Config {
	t.Helper()
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// Each way to say who one is, and each place to say it, as kubectl has them.
func TestItFindsItsAPIServer(t *testing.T) {
	admin := cluster.Kubeconfig // client certificates in files
	inline := load(t, admin)
	if err := clientcmdapi.FlattenConfig(inline); err != nil {
		t.Fatal(err)
	}
	token := cluster.ReconcilerKubeconfig(t, "", nil)
	dir := t.TempDir()
	tokenFile := load(t, token)
	harness.WriteFile(t, filepath.Join(dir, "token"), []byte(tokenFile.AuthInfos["u"].Token+"\n"))
	tokenFile.AuthInfos["u"].Token, tokenFile.AuthInfos["u"].TokenFile = "", "token" // beside the kubeconfig
	if err := os.Mkdir(filepath.Join(dir, ".kube"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, inline, filepath.Join(dir, ".kube", "config"))
	for _, tt := range []struct {
		name      string
		env, args []string
	}{
		{"by client certificates in files", nil, []string{"--kubeconfig=" + admin}},
		{"by client certificates in the kubeconfig", nil, []string{"--kubeconfig=" + write(t, inline, filepath.Join(dir, "inline"))}},
		{"by a token", nil, []string{"--kubeconfig=" + token}},
		{"by a token in a file", nil, []string{"--kubeconfig=" + write(t, tokenFile, filepath.Join(dir, "file"))}},
		{"of $KUBECONFIG", []string{"KUBECONFIG=" + token, "HOME=/nonexistent"}, nil},
		{"of the home directory", []string{"HOME=" + dir}, nil},
		{"of the flag before all others", []string{"KUBECONFIG=/nonexistent", "HOME=/nonexistent"}, []string{"--kubeconfig=" + token}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			connect(t, tt.env, tt.args...).Stop(t)
		})
	}
}

// What a kubeconfig of a cloud asks for, and nobody here can do, is said by name.
func TestAKubeconfigIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*clientcmdapi.Cluster, *clientcmdapi.AuthInfo)
		want   string
	}{
		{"a command", func(_ *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) {
			user.Exec = &clientcmdapi.ExecConfig{Command: "aws", APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: "Never"}
		}, "exec is not supported: use a token, tokenFile or client certificate"},
		{"a provider", func(_ *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) {
			user.AuthProvider = &clientcmdapi.AuthProviderConfig{Name: "oidc"}
		}, "auth-provider is not supported: use a token, tokenFile or client certificate"},
		{"a proxy", func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) { c.ProxyURL = "http://proxy:3128" }, "proxy-url is not supported"},
		{"no verification", func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) {
			c.CertificateAuthorityData, c.InsecureSkipTLSVerify = nil, true
		}, "insecure-skip-tls-verify is not supported: name the CA in certificate-authority"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := load(t, cluster.ReconcilerKubeconfig(t, "", nil))
			tt.change(config.Clusters["c"], config.AuthInfos["u"])
			p := harness.StartReconciler(t, write(t, config, filepath.Join(t.TempDir(), "kubeconfig")))
			if code := p.Wait(t, harness.Patience); code != 1 || !strings.Contains(p.Log(), tt.want) {
				t.Errorf("exit code %d: %s", code, p.Log())
			}
		})
	}
}

// Who is no API server of this cluster is told nothing: no request, no token.
func TestWhomItTrusts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		version uint16 // of TLS, at most
		env     func(serverCA string) []string
		mine    bool // the kubeconfig names the server's own CA
		trusted bool
	}{
		{name: "its CA", version: tls.VersionTLS13, mine: true, trusted: true},
		{name: "TLS 1.2", version: tls.VersionTLS12, mine: true, trusted: true},
		{name: "TLS 1.1", version: tls.VersionTLS11, mine: true},
		{name: "another CA", version: tls.VersionTLS13},
		{name: "a CA that the machine trusts", version: tls.VersionTLS13, env: func(ca string) []string {
			return []string{"SSL_CERT_FILE=" + ca, "SSL_CERT_DIR=" + filepath.Dir(ca), "CURL_CA_BUNDLE=" + ca}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan string, 1000)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked <- r.Header.Get("Authorization") + " " + r.UserAgent()
				http.Error(w, "no", http.StatusServiceUnavailable)
			}))
			server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tt.version}
			server.Config.ErrorLog = nil
			server.StartTLS()
			defer server.Close()
			pemCA := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
			ca := filepath.Join(t.TempDir(), "ca.crt")
			harness.WriteFile(t, ca, pemCA)
			if !tt.mine {
				pemCA = harness.NewCA(t).PEM
			}
			var env []string
			if tt.env != nil {
				env = tt.env(ca)
			}
			p := harness.StartProcess(t, "env", append(env, harness.Binary(t, "DBUPGRADE_RECONCILER"), "--log-format=json",
				"--metrics-bind-address=0", "--health-probe-bind-address=0", "--kubeconfig="+cluster.ReconcilerKubeconfig(t, server.URL, pemCA))...)
			harness.Eventually(t, harness.Patience, "it has tried", func() error {
				if !strings.Contains(p.Log(), "watching failed") {
					return fmt.Errorf("its log: %s", p.Log())
				}
				return nil
			})
			if tt.trusted != (len(asked) > 0) {
				t.Fatalf("trusted: want %v; requests: %d\n%s", tt.trusted, len(asked), p.Log())
			}
			if !tt.trusted {
				return
			}
			who := <-asked
			if !strings.HasPrefix(who, "Bearer ") || !strings.Contains(who, "dbupgrade-reconciler/") || !strings.Contains(who, " watch-") {
				t.Errorf("asked as %q", who)
			}
		})
	}
}
