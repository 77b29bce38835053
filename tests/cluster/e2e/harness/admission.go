// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// AdmissionCase is one row of tests/data/admission/cases.json; its README says what the members
// mean.
type AdmissionCase struct {
	Name      string          `json:"name"`
	Operation string          `json:"operation"`
	Metadata  map[string]any  `json:"metadata"`
	Deleting  bool            `json:"deleting"`
	OldSpec   json.RawMessage `json:"oldSpec"`
	OldStatus map[string]any  `json:"oldStatus"`
	Spec      json.RawMessage `json:"spec"` // nil when the object has none
	Webhook   struct {
		Allowed  bool             `json:"allowed"`
		Causes   []AdmissionCause `json:"causes"`
		Warnings []string         `json:"warnings"`
		Patch    []map[string]any `json:"patch"`
	} `json:"webhook"`
	CRD struct {
		Allowed bool     `json:"allowed"`
		Fields  []string `json:"fields"`
	} `json:"crd"`
}

// AdmissionCause is one error of an answer.
type AdmissionCause struct {
	Reason  string `json:"reason"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

// AdmissionCases reads the table.
func AdmissionCases() ([]AdmissionCase, error) {
	text, err := os.ReadFile(Root("tests", "data", "admission", "cases.json"))
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var cases []AdmissionCase
	if err := decoder.Decode(&cases); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, c := range cases {
		if seen[c.Name] {
			return nil, fmt.Errorf("two cases are named %q", c.Name)
		}
		seen[c.Name] = true
		if c.Webhook.Allowed != (len(c.Webhook.Causes) == 0) {
			return nil, fmt.Errorf("%q: a refusal has causes, nothing else has", c.Name)
		}
	}
	return cases, nil
}

// Object is the case's object, or with old set the one before the update. Raw JSON, so that a spec
// may be of any type. name must be a DNS label.
func (c *AdmissionCase) Object(old bool, namespace, name string) (map[string]any, error) {
	metadata := map[string]any{"name": name, "namespace": namespace}
	object := map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1",
		"kind":       "DBUpgrade",
		"metadata":   metadata,
	}
	if c.Deleting {
		metadata["finalizers"] = []any{"example.com/test"}
	}
	spec := c.OldSpec
	if !old {
		for k, v := range c.Metadata {
			metadata[k] = v
		}
		spec = c.Spec
	}
	if spec != nil {
		decoder := json.NewDecoder(bytes.NewReader(spec))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		object["spec"] = numbers(value)
	}
	return object, nil
}

// numbers makes integers int64 and all else float64, as Kubernetes' own decoder does.
func numbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return value
}
