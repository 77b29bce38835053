// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The two paths of the webhook.
const (
	MutatePath   = "/mutate-dbupgrade-subbug-learning-v1alpha1-dbupgrade"
	ValidatePath = "/validate-dbupgrade-subbug-learning-v1alpha1-dbupgrade"
)

// CA signs the serving certificates of a test.
type CA struct {
	PEM  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes one.
func NewCA(t testing.TB) *CA {
	t.Helper()
	ca := &CA{}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca.PEM, ca.cert, ca.key = sign(t, template, nil, nil)
	return ca
}

// Write puts a serving certificate for 127.0.0.1 and localhost into a directory, as tls.crt and
// tls.key. lifetime may be negative: then it has expired.
func (ca *CA) Write(t testing.TB, dir string, lifetime time.Duration) {
	t.Helper()
	cert, _, key := sign(t, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject: pkix.Name{CommonName: "webhook"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca.cert, ca.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	WriteFile(t, filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	WriteFile(t, filepath.Join(dir, "tls.crt"), cert)
}

// WriteFile writes one.
func WriteFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func sign(t testing.TB, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) ([]byte, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), cert, key
}

// Webhook is a running dbupgrade-webhook.
type Webhook struct {
	*Process
	CA     *CA
	Dir    string // of tls.crt and tls.key
	Addr   string // host:port of HTTPS
	Health string // URL
	Meters string // URL of the metrics
}

// StartWebhook starts one with a good certificate and waits until it is ready.
func StartWebhook(t testing.TB, args ...string) *Webhook {
	t.Helper()
	w := &Webhook{CA: NewCA(t), Dir: t.TempDir()}
	w.CA.Write(t, w.Dir, time.Hour)
	w.Start(t, args...)
	w.AwaitReady(t, true)
	return w
}

// Start runs it with the certificates that are in its directory.
func (w *Webhook) Start(t testing.TB, args ...string) {
	t.Helper()
	port, err := freePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	w.Addr = fmt.Sprintf("127.0.0.1:%d", port)
	w.Health = fmt.Sprintf("http://127.0.0.1:%d", port+1)
	w.Meters = fmt.Sprintf("http://127.0.0.1:%d/metrics", port+2)
	w.Process = StartProcess(t, Binary(t, "DBUPGRADE_WEBHOOK"), append([]string{
		fmt.Sprintf("--webhook-port=%d", port), "--webhook-cert-path=" + w.Dir,
		fmt.Sprintf("--health-probe-bind-address=127.0.0.1:%d", port+1),
		fmt.Sprintf("--metrics-bind-address=127.0.0.1:%d", port+2),
		"--log-format=json", "--shutdown-delay=0s"}, args...)...)
}

// Ready says what /readyz says: 200 or not.
func (w *Webhook) Ready() bool {
	response, err := http.Get(w.Health + "/readyz")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// AwaitReady waits until it is ready, or no longer.
func (w *Webhook) AwaitReady(t testing.TB, want bool) {
	t.Helper()
	Eventually(t, 30*time.Second, fmt.Sprint("ready: ", want), func() error {
		if w.Ready() != want {
			return fmt.Errorf("ready: %v", !want)
		}
		return nil
	})
}

// Client makes a client of its own connections that trusts the webhook's CA.
func (w *Webhook) Client() *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.CA.PEM)
	return &http.Client{Timeout: 30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 64}}
}

// Dial opens a TLS connection to it.
func (w *Webhook) Dial(t testing.TB) *tls.Conn {
	t.Helper()
	connection, err := tls.Dial("tcp", w.Addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return connection
}

// Post sends a body and returns the HTTP status and the answer.
func (w *Webhook) Post(ctx context.Context, client *http.Client, path string, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+w.Addr+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}
