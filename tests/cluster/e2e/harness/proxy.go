// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// Exchange is one request through a proxy.
type Exchange struct {
	Number int    // 1 for the first
	Method string // GET, POST, …
	URL    string // path and query
	Body   []byte
	Status int // of the answer; 0: there was none
}

func (e *Exchange) String() string {
	return fmt.Sprintf("%d: %s %s -> %d", e.Number, e.Method, e.URL, e.Status)
}

// Proxy stands between a reconciler and the API server: it sees each request, and can end the
// exchange before the API server hears of it or before the reconciler hears the answer.
type Proxy struct {
	URL string
	CA  []byte // PEM

	// Before and After are called for each request, from several goroutines; they are set before
	// the first. False cuts the connection.
	Before, After func(*Exchange) bool

	// Instead, when set, may answer in the API server's place; it returns whether it has.
	Instead func(*Exchange, http.ResponseWriter) bool

	// Body, when set, wraps the body of each answer of the API server.
	Body func(*Exchange, io.ReadCloser) io.ReadCloser

	mu        sync.Mutex
	exchanges []*Exchange
}

type exchangeKey struct{}

// NewProxy starts one that lasts until the test ends.
func (c *Cluster) NewProxy(t testing.TB) *Proxy {
	t.Helper()
	target, err := url.Parse(c.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	tls, err := rest.TLSConfigFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: c.Config.CAFile}})
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{}
	forward := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     &http.Transport{TLSClientConfig: tls},
		FlushInterval: -1, // watches
		ModifyResponse: func(response *http.Response) error {
			e := response.Request.Context().Value(exchangeKey{}).(*Exchange)
			p.mu.Lock()
			e.Status = response.StatusCode
			p.mu.Unlock()
			if p.After != nil && !p.After(e) {
				panic(http.ErrAbortHandler)
			}
			if p.Body != nil {
				response.Body = p.Body(e, response.Body)
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		e := &Exchange{Method: r.Method, URL: r.URL.String(), Body: body}
		p.mu.Lock()
		p.exchanges = append(p.exchanges, e)
		e.Number = len(p.exchanges)
		p.mu.Unlock()
		if p.Before != nil && !p.Before(e) {
			panic(http.ErrAbortHandler)
		}
		if p.Instead != nil && p.Instead(e, w) {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		forward.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, e)))
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	p.URL = server.URL
	p.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return p
}

// Exchanges are the requests so far.
func (p *Proxy) Exchanges() []Exchange {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Exchange, 0, len(p.exchanges))
	for _, e := range p.exchanges {
		list = append(list, *e)
	}
	return list
}
