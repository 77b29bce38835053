// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Reconciler is the user that the shipped rights are for.
const Reconciler = "system:serviceaccount:" + SystemNamespace + ":dbupgrade-reconciler"

// An AuditedRequest is one that the API server has seen of Reconciler.
type AuditedRequest struct {
	Verb                                          string
	Group, Resource, Subresource, Namespace, Name string
	Code                                          int  // of the answer
	Forbidden                                     bool // for want of a right; a quota's 403 is none
}

func (r AuditedRequest) String() string {
	resource := strings.TrimSuffix(r.Group+"/"+r.Resource+"/"+r.Subresource, "/")
	return fmt.Sprintf("%s %s %q in %q: %d", r.Verb, strings.TrimPrefix(resource, "/"), r.Name, r.Namespace, r.Code)
}

// auditLog of this package's API server.
var auditLog string

// RunAudited is Run with a record of what Reconciler asks the API server. It also fails when one of
// its requests was refused for want of a right: a test that takes rights away uses another account.
func RunAudited(m *testing.M, cluster **Cluster, prepare ...func(*Cluster) error) int {
	return audited(func() int { return Run(m, cluster, prepare...) })
}

// RunNodeAudited is likewise of RunNode; not for tests that uninstall the operator while it runs, or
// restart the API server, which refuses what it has not read the roles of. With E2E_KEEP the API server
// may be that of an earlier run, whose record is elsewhere: it is RunNode then.
func RunNodeAudited(m *testing.M, node **Node) int {
	if os.Getenv("E2E_KEEP") != "" {
		return RunNode(m, node)
	}
	return audited(func() int { return RunNode(m, node) })
}

func audited(run func() int) int {
	dir, err := os.MkdirTemp("", "dbupgrade-audit-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(auditPolicy), 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	auditLog = filepath.Join(dir, "log")
	os.Setenv("APISERVER_FLAGS", os.Getenv("APISERVER_FLAGS")+" --audit-policy-file="+filepath.Join(dir, "policy.yaml")+
		" --audit-log-path="+auditLog)
	code := run()
	if code != 0 {
		return code // it may not even have come up
	}
	requests, err := readAudit(auditLog)
	all := flag.Lookup("test.run").Value.String() == ""
	if err == nil && all && len(requests) == 0 {
		err = fmt.Errorf("%s has asked nothing, or the audit log is broken", Reconciler)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	forbidden := slices.DeleteFunc(requests, func(r AuditedRequest) bool { return !r.Forbidden })
	for _, r := range forbidden {
		fmt.Fprintln(os.Stderr, "e2e: the shipped rights do not allow:", r)
		code = 1
	}
	return code
}

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["` + Reconciler + `"]
- level: None
`

// Audit is what Reconciler has asked so far, in a package of RunAudited.
func Audit(t testing.TB) []AuditedRequest {
	t.Helper()
	requests, err := readAudit(auditLog)
	if err != nil {
		t.Fatal(err)
	}
	return requests
}

func readAudit(path string) (requests []AuditedRequest, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break // being written
		}
		var event struct {
			Verb      string `json:"verb"`
			ObjectRef struct {
				APIGroup, Resource, Subresource, Namespace, Name string
			} `json:"objectRef"`
			ResponseStatus struct{ Code int }
			Annotations    map[string]string
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			return nil, err
		}
		o := event.ObjectRef
		requests = append(requests, AuditedRequest{event.Verb, o.APIGroup, o.Resource, o.Subresource, o.Namespace, o.Name,
			event.ResponseStatus.Code, event.Annotations["authorization.k8s.io/decision"] == "forbid"})
	}
	return requests, nil
}
