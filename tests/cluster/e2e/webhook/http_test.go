// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dbupgrade/tests/cluster/e2e/harness"
)

// aReview is a good object of about 1.8 KB, as kubectl apply makes it.
func aReview(t testing.TB) []byte {
	t.Helper()
	cases, err := harness.AdmissionCases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Webhook.Allowed && c.Operation == "UPDATE" {
			return review(t, &c)
		}
	}
	t.Fatal("no case is allowed")
	return nil
}

// padded is a review with white space behind it.
func padded(review []byte, size int) []byte {
	return append(slices.Clone(review), bytes.Repeat([]byte(" "), size-len(review))...)
}

func TestRequestsThatAreNoReviews(t *testing.T) {
	w := harness.StartWebhook(t)
	const post, length, kind = "POST " + harness.ValidatePath + " HTTP/1.1\r\nHost: x\r\n", "Content-Length: ", "Content-Type: application/json\r\n"
	good := string(aReview(t))
	framed := func(body string) string {
		return fmt.Sprintf("%s%s%s%d\r\n\r\n%s", post, kind, length, len(body), body)
	}
	rows := []struct {
		name, request string
		status        int // 0: the connection is closed without an answer
	}{
		{"a good one", framed(good), 200},
		{"another path", "POST /elsewhere HTTP/1.1\r\nHost: x\r\n" + kind + "Content-Length: 2\r\n\r\n{}", 404},
		{"a path with more behind it", strings.Replace(framed(good), " HTTP", "/more HTTP", 1), 404},
		{"an encoded NUL behind the path", strings.Replace(framed(good), " HTTP", "%00 HTTP", 1), 404},
		{"GET", "GET " + harness.ValidatePath + " HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"PUT", strings.Replace(framed(good), "POST", "PUT", 1), 405},
		{"no content type", strings.Replace(framed(good), kind, "", 1), 415},
		{"another content type", strings.Replace(framed(good), "json", "yaml", 1), 415},
		{"a charset is fine", strings.Replace(framed(good), "json", "json; charset=utf-8", 1), 200},
		{"an empty body", framed(""), 400},
		{"an empty object", framed("{}"), 400},
		{"not JSON", framed("apiVersion: v1"), 400},
		{"truncated", framed(good[:len(good)-1]), 400},
		{"two values", framed(good + "{}"), 400},
		{"a duplicate key", framed(strings.Replace(good, "{", `{"kind":"x",`, 1)), 400},
		{"an unknown version of the review", framed(strings.Replace(good, "admission.k8s.io/v1", "admission.k8s.io/v2", 1)), 400},
		{"too deep", framed(strings.Repeat("[", 5000) + strings.Repeat("]", 5000)), 400},
		{"NUL in the middle", framed(good[:20] + "\x00" + good[20:]), 400},
		{"invalid UTF-8", framed(strings.Replace(good, "shop", "sh\xffp", 1)), 400},
		{"more than 7 MiB announced, and asked whether to send it", post + kind + length + "7340033\r\nExpect: 100-continue\r\n\r\n", 413},
		{"more than 14 MiB announced", post + kind + length + "14680065\r\n\r\n", 413},
		{"more than fits into any number", post + kind + length + "99999999999999999999999\r\n\r\n", 413},
		{"a negative length", post + kind + length + "-1\r\n\r\n", 400},
		{"a length of letters", post + kind + length + "ten\r\n\r\n", 400},
		{"two lengths", post + kind + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400},
		{"length and chunks", post + kind + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"an unknown coding", post + kind + "Transfer-Encoding: gzip\r\n\r\n", 400},
		{"chunks", fmt.Sprintf("%s%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", post, kind, 100, good[:100], len(good)-100, good[100:]), 200},
		{"an absurd chunk", post + kind + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 413},
		{"a chunk size of letters", post + kind + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
		{"a header larger than 32 KiB", post + "X: " + strings.Repeat("x", 40000) + "\r\n\r\n", 431},
		{"no HTTP", "hello\r\n\r\n", 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			c := w.Dial(t)
			// Who is refused may be cut off before the end.
			if _, err := io.WriteString(c, r.request); err != nil && r.status == 200 {
				t.Fatal(err)
			}
			status, body := readAnswer(t, c)
			if status != r.status {
				// A refusal may come as a closed connection, never as consent.
				if r.status < 400 || status != 0 {
					t.Errorf("want HTTP %d, got %d: %s", r.status, status, body)
				}
			}
			if r.status != 200 && strings.Contains(body, `"allowed":true`) {
				t.Errorf("allowed: %s", body)
			}
		})
	}
	if !w.Running() || !w.Ready() {
		t.Error("it did not survive")
	}
}

// readAnswer reads one answer; status 0 when the connection ended without.
func readAnswer(t *testing.T, c net.Conn) (int, string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

func TestBodies(t *testing.T) {
	w := harness.StartWebhook(t)
	client := w.Client()
	good := aReview(t)
	for _, r := range []struct {
		name         string
		body         []byte
		status       int
		announceless bool
	}{
		{"nothing", nil, 400, false},
		{"a good review", good, 200, false},
		{"3 MB", padded(good, 3<<20), 200, false},
		{"7 MiB", padded(good, 7<<20), 200, false},
		{"7 MiB and a byte", padded(good, 7<<20+1), 413, false},
		{"3 MB in chunks", padded(good, 3<<20), 200, true},
		{"7 MiB in chunks", padded(good, 7<<20), 200, true},
		{"7 MiB and a byte in chunks", padded(good, 7<<20+1), 413, true},
	} {
		var body io.Reader = bytes.NewReader(r.body)
		if r.announceless {
			body = io.MultiReader(body) // of no length that the client could know
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+w.Addr+harness.ValidatePath, body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			t.Errorf("%s: %v", r.name, err)
			continue
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != r.status || (r.status == 200) != bytes.Contains(text, []byte(`"allowed":true`)) {
			t.Errorf("%s: want %d, got %d: %.200s", r.name, r.status, response.StatusCode, text)
		}
	}
	t.Run("100-continue", func(t *testing.T) {
		c := w.Dial(t)
		body := aReview(t)
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", harness.ValidatePath, len(body))
		reader := bufio.NewReader(c)
		line, err := reader.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
			t.Fatalf("%q, %v", line, err)
		}
		if _, err := reader.ReadString('\n'); err != nil { // the empty line behind it
			t.Fatal(err)
		}
		if _, err := c.Write(body); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil || response.StatusCode != 200 {
			t.Fatalf("%v, %v", response, err)
		}
	})
	t.Run("pipelined", func(t *testing.T) {
		c := w.Dial(t)
		body := aReview(t)
		for range 3 {
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", harness.ValidatePath, len(body), body)
		}
		reader := bufio.NewReader(c)
		for range 3 {
			response, err := http.ReadResponse(reader, nil)
			if err != nil || response.StatusCode != 200 {
				t.Fatalf("%v %v", response, err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
		}
	})
}

func TestVersionsAndCiphers(t *testing.T) {
	w := harness.StartWebhook(t)
	for _, c := range []struct {
		name     string
		min, max uint16
		suites   []uint16
		served   bool
	}{
		{"TLS 1.3", tls.VersionTLS13, tls.VersionTLS13, nil, true},
		{"TLS 1.2 with AES-GCM", tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, true},
		{"TLS 1.2 with ChaCha20", tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}, true},
		{"TLS 1.2 with CBC", tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}, false},
		{"TLS 1.1", tls.VersionTLS11, tls.VersionTLS11, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Whom it trusts does not matter here.
			conn, err := tls.Dial("tcp", w.Addr, &tls.Config{InsecureSkipVerify: true, MinVersion: c.min, MaxVersion: c.max, CipherSuites: c.suites})
			if err == nil {
				conn.Close()
			}
			if (err == nil) != c.served {
				t.Errorf("served: %t, %v", err == nil, err)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	t.Run("changed files are served without a restart", func(t *testing.T) {
		w := harness.StartWebhook(t)
		old := w.CA
		w.CA = harness.NewCA(t)
		w.CA.Write(t, w.Dir, time.Hour)
		awaitServed(t, w)
		if status, _, err := w.Post(t.Context(), (&harness.Webhook{CA: old}).Client(), harness.ValidatePath, nil); err == nil {
			t.Errorf("the old one is still served: %d", status)
		}
	})
	t.Run("as the kubelet changes them, by a link", func(t *testing.T) {
		dir := t.TempDir()
		w := &harness.Webhook{CA: harness.NewCA(t), Dir: dir}
		generation := func(name string) {
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			w.CA.Write(t, filepath.Join(dir, name), time.Hour)
			link(t, name, filepath.Join(dir, "..data"))
		}
		generation("..1")
		link(t, "..data/tls.crt", filepath.Join(dir, "tls.crt"))
		link(t, "..data/tls.key", filepath.Join(dir, "tls.key"))
		w.Start(t)
		w.AwaitReady(t, true)
		awaitServed(t, w)
		w.CA = harness.NewCA(t)
		generation("..2")
		awaitServed(t, w)
	})
	t.Run("a half-written pair keeps the old one", func(t *testing.T) {
		w := harness.StartWebhook(t)
		harness.WriteFile(t, filepath.Join(w.Dir, "tls.key"), []byte("-----BEGIN PRIVATE KEY-----\n"))
		time.Sleep(time.Second)
		awaitServed(t, w)
		if !w.Ready() {
			t.Error("not ready")
		}
		w.CA.Write(t, w.Dir, time.Hour)
		awaitServed(t, w)
	})
	t.Run("none yet: not ready until they come", func(t *testing.T) {
		w := &harness.Webhook{CA: harness.NewCA(t), Dir: t.TempDir()}
		w.Start(t)
		harness.Eventually(t, 10*time.Second, "it answers", func() error {
			_, err := http.Get(w.Health + "/healthz")
			return err
		})
		if w.Ready() {
			t.Error("ready without a certificate")
		}
		w.CA.Write(t, w.Dir, time.Hour)
		w.AwaitReady(t, true)
		awaitServed(t, w)
	})
	t.Run("an expired one is not ready", func(t *testing.T) {
		w := harness.StartWebhook(t)
		w.CA.Write(t, w.Dir, -time.Minute)
		w.AwaitReady(t, false)
	})
	t.Run("no key is in the log", func(t *testing.T) {
		w := harness.StartWebhook(t, "--log-level=debug")
		key, err := os.ReadFile(filepath.Join(w.Dir, "tls.key"))
		if err != nil {
			t.Fatal(err)
		}
		secret := strings.Split(string(key), "\n")[1][:40]
		w.Stop(t)
		if strings.Contains(w.Log(), secret) {
			t.Error(w.Log())
		}
	})
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// awaitServed waits until new connections get a certificate of the webhook's present CA.
func awaitServed(t *testing.T, w *harness.Webhook) {
	t.Helper()
	body := aReview(t)
	harness.Eventually(t, 30*time.Second, "the certificate is served", func() error {
		status, _, err := w.Post(t.Context(), w.Client(), harness.ValidatePath, body)
		if err == nil && status != 200 {
			err = fmt.Errorf("HTTP %d", status)
		}
		return err
	})
}

// Names, labels and zeros of every series are there before the first request.
func TestMetrics(t *testing.T) {
	w := harness.StartWebhook(t)
	client := w.Client()
	path := `webhook="` + harness.ValidatePath + `"`
	fresh := requests(t, w)
	for _, series := range []string{
		`controller_runtime_webhook_requests_total{` + path + `,code="200"}`,
		`controller_runtime_webhook_requests_total{` + path + `,code="500"}`,
		`controller_runtime_webhook_requests_in_flight{` + path + `}`,
		`controller_runtime_webhook_latency_seconds_bucket{` + path + `,le="0.005"}`,
		`controller_runtime_webhook_latency_seconds_bucket{` + path + `,le="10"}`,
		`controller_runtime_webhook_latency_seconds_bucket{` + path + `,le="+Inf"}`,
		`certwatcher_read_certificate_errors_total`,
		`dbupgrade_webhook_reviews_total{` + path + `,allowed="false"}`,
		`dbupgrade_webhook_denial_causes_total{` + path + `,reason="FieldValueInvalid"}`,
		`dbupgrade_webhook_refused_requests_total{reason="memory"}`,
		`dbupgrade_webhook_slow_connections_total`,
		`dbupgrade_webhook_crowded_connections_total`,
		`dbupgrade_webhook_handshake_failures_total`,
		`dbupgrade_webhook_body_bytes`,
	} {
		if fresh[series] != "0" {
			t.Errorf("before any request: %s: %q", series, fresh[series])
		}
	}
	for range 3 {
		ask(t, w, client, harness.ValidatePath, aReview(t))
	}
	ask(t, w, client, harness.ValidatePath, deniedReview(t))
	for _, request := range []string{"GET " + harness.ValidatePath + " HTTP/1.1\r\nHost: x\r\n\r\n", "POST /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n"} {
		c := w.Dial(t)
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		readAnswer(t, c)
	}
	failHandshake(t, w)
	for series, want := range map[string]string{
		`controller_runtime_webhook_requests_total{` + path + `,code="200"}`:                 "4",
		`controller_runtime_webhook_requests_total{` + path + `,code="405"}`:                 "1",
		`controller_runtime_webhook_latency_seconds_count{` + path + `}`:                     "4",
		`controller_runtime_webhook_requests_in_flight{` + path + `}`:                        "0",
		`dbupgrade_webhook_reviews_total{` + path + `,allowed="true"}`:                       "3",
		`dbupgrade_webhook_reviews_total{` + path + `,allowed="false"}`:                      "1",
		`dbupgrade_webhook_denial_causes_total{` + path + `,reason="FieldValueTypeInvalid"}`: "1",
		`dbupgrade_webhook_refused_requests_total{reason="method"}`:                          "1",
		`dbupgrade_webhook_refused_requests_total{reason="path"}`:                            "1",
		`dbupgrade_webhook_handshake_failures_total`:                                         "1",
		`dbupgrade_webhook_connections_max`:                                                  "512",
		`dbupgrade_webhook_body_bytes_max`:                                                   "16777216",
		`dbupgrade_operator_up`:                                                              "1",
	} {
		harness.Eventually(t, 10*time.Second, series, func() error {
			if got := requests(t, w)[series]; got != want {
				return fmt.Errorf("want %s, got %q", want, got)
			}
			return nil
		})
	}
	if expiry := requests(t, w)["dbupgrade_webhook_cert_expiry_timestamp_seconds"]; expiry == "" || expiry == "0" {
		t.Errorf("expiry: %q", expiry)
	}
	t.Run("promtool finds nothing to say", func(t *testing.T) {
		cmd := exec.Command("promtool", "check", "metrics")
		cmd.Stdin = strings.NewReader(scrape(t, w))
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// deniedReview has one mistake, of a wrong type.
func deniedReview(t testing.TB) []byte {
	t.Helper()
	text := strings.Replace(string(aReview(t)), `"spec":{`, `"spec":{"suspend":1,`, 1)
	if text == string(aReview(t)) {
		t.Fatal("there is no spec")
	}
	return []byte(text)
}

// failHandshake sends what is no TLS and waits until it is cut off.
func failHandshake(t testing.TB, w *harness.Webhook) {
	t.Helper()
	c, err := net.Dial("tcp", w.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.Copy(io.Discard, c)
}

func TestHealth(t *testing.T) {
	w := harness.StartWebhook(t)
	for path, want := range map[string]string{
		"/healthz":         "ok",
		"/readyz":          "ok",
		"/healthz?verbose": "[+]threads ok\nhealthz check passed\n",
		"/readyz?verbose":  "[+]threads ok\n[+]certificate ok\n[+]listener ok\n[+]shutdown ok\nreadyz check passed\n",
		"/readyz/listener": "ok",
		"/readyz?verbose&exclude=listener&exclude=threads": "[+]threads excluded: ok\n[+]certificate ok\n[+]listener excluded: ok\n[+]shutdown ok\nreadyz check passed\n",
	} {
		response, err := http.Get(w.Health + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != 200 || string(text) != want {
			t.Errorf("%s: HTTP %d: %s", path, response.StatusCode, text)
		}
	}
}

// The level changes while it runs; repeats are limited whatever it is.
func TestLog(t *testing.T) {
	w := harness.StartWebhook(t)
	awaitLine := func(words string) {
		harness.Eventually(t, 10*time.Second, words, func() error {
			failHandshake(t, w)
			if !strings.Contains(w.Log(), words) {
				return fmt.Errorf("not in the log:\n%s", w.Log())
			}
			return nil
		})
	}
	failHandshake(t, w)
	if strings.Contains(w.Log(), "libmicrohttpd") {
		t.Errorf("at level info:\n%s", w.Log())
	}
	w.Signal(t, syscall.SIGUSR1)
	awaitLine(`"msg":"log level changed","level":0`)
	awaitLine(`"logger":"webhook","msg":"libmicrohttpd"`)
	client := w.Client()
	for range 100 {
		failHandshake(t, w)
		ask(t, w, client, harness.ValidatePath, deniedReview(t))
	}
	if lines := strings.Count(w.Log(), "\n"); lines > 60 {
		t.Errorf("%d lines:\n%.5000s", lines, w.Log())
	}
	w.Signal(t, syscall.SIGUSR2)
	awaitLine(`"msg":"log level changed","level":1`)
}

// Keys are in memory: a crash must not write it to a file.
func TestNoCoreDumps(t *testing.T) {
	w := harness.StartWebhook(t)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", w.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits) {
		t.Errorf("%s", limits)
	}
}
