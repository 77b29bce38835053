// SPDX-License-Identifier: Apache-2.0

//go:build bench

package scale

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// stored is an object as etcd has it. Tens of thousands of objects take an hour through the API of a
// small machine; their like, with other names and UIDs of the same lengths, goes to etcd in seconds,
// and the API server tells of it as of any other object.
type stored struct {
	key, name, uid string
	value          []byte // JSON, or Kubernetes' form of protobuf
}

// transaction is the most that etcd takes at a time.
const transaction = 128

var aUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// ask sends a request to etcd's JSON gateway, where all bytes are in base64.
func ask(t *testing.T, path string, request, answer any) {
	t.Helper()
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	host, err := url.Parse(cluster.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(host.Port())
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/v3/kv/%s", port+1, path), "application/json", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err = io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(text, answer)
	}
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("etcd %s: HTTP %d, %v: %s", path, response.StatusCode, err, text)
	}
}

// read takes an object out of etcd. Its name must end with six digits.
func read(t *testing.T, key string) stored {
	t.Helper()
	var found struct {
		Kvs []struct {
			Value []byte `json:"value"`
		} `json:"kvs"`
	}
	ask(t, "range", map[string]any{"key": []byte(key)}, &found)
	if len(found.Kvs) != 1 {
		t.Fatalf("etcd has no %s", key)
	}
	value := found.Kvs[0].Value
	// The first after the object's own name is its own: others are those of owners and Jobs.
	name := key[strings.LastIndex(key, "/")+1:]
	uid := aUID.Find(value)
	if uid == nil || !bytes.Contains(value, []byte(name)) {
		t.Fatalf("no name or UID in %q", value)
	}
	return stored{key, name, string(uid), value}
}

// copies writes n of them, numbered from first.
func (s stored) copies(t *testing.T, first, n int) {
	t.Helper()
	type put struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	}
	type operation struct {
		Put put `json:"requestPut"`
	}
	var operations []operation
	for i := first; i < first+n; i++ {
		name := fmt.Sprintf("%s%06d", s.name[:len(s.name)-6], i)
		value := bytes.ReplaceAll(s.value, []byte(s.name), []byte(name))
		value = bytes.ReplaceAll(value, []byte(s.uid), fmt.Appendf(nil, "%s%012x", s.uid[:24], i))
		operations = append(operations, operation{put{[]byte(strings.TrimSuffix(s.key, s.name) + name), value}})
		if len(operations) == transaction || i == first+n-1 {
			var answer struct {
				Succeeded bool `json:"succeeded"`
			}
			ask(t, "txn", map[string]any{"success": operations}, &answer)
			if !answer.Succeeded {
				t.Fatal("etcd has not taken a transaction")
			}
			operations = nil
		}
	}
}
