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
	"sync"
	"testing"
)

// stored is an object as etcd has it. Tens of thousands of objects take an hour through the API of a
// small machine; their like, with other names and UIDs of the same lengths, goes to etcd in seconds,
// and the API server tells of it as of any other object.
type stored struct {
	key, name, uid string
	value          []byte // JSON, or Kubernetes' form of protobuf
}

const writersAtATime = 8

var aUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// ask sends a request to etcd's JSON gateway, where all bytes are in base64.
func ask(path string, request, answer any) error {
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	host, err := url.Parse(cluster.Config.Host)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(host.Port())
	if err != nil {
		return err
	}
	response, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/v3/kv/%s", port+1, path), "application/json", bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err = io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(text, answer)
	}
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd %s: HTTP %d, %w: %s", path, response.StatusCode, err, text)
	}
	return nil
}

// read takes an object out of etcd. Its name must end with six digits.
func read(t *testing.T, key string) stored {
	t.Helper()
	var found struct {
		Kvs []struct {
			Value []byte `json:"value"`
		} `json:"kvs"`
	}
	if err := ask("range", map[string]any{"key": []byte(key)}, &found); err != nil {
		t.Fatal(err)
	}
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

// copies writes n of them, numbered from first. Each is a revision of its own, as the API server
// writes: watches and limits of lists stand on a revision being one object.
func (s stored) copies(t *testing.T, first, n int) {
	t.Helper()
	var writers sync.WaitGroup
	for w := range writersAtATime {
		writers.Go(func() {
			for i := first + w; i < first+n && !t.Failed(); i += writersAtATime {
				name := fmt.Sprintf("%s%06d", s.name[:len(s.name)-6], i)
				value := bytes.ReplaceAll(s.value, []byte(s.name), []byte(name))
				value = bytes.ReplaceAll(value, []byte(s.uid), fmt.Appendf(nil, "%s%012x", s.uid[:24], i))
				key := []byte(strings.TrimSuffix(s.key, s.name) + name)
				if err := ask("put", map[string]any{"key": key, "value": value}, &struct{}{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
