// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Text is a string member of an object; "" when it is not there.
func Text(object *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(object.Object, path...)
	return s
}

// Conditions writes a DBUpgrade's conditions in one line, in the order of the documentation's table.
// Reconciling and Stalled are there only while they are true.
func Conditions(object *unstructured.Unstructured) string {
	list, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	var words []string
	for _, kind := range []string{"Accepted", "Ready", "Progressing", "Degraded", "Blocked", "Reconciling", "Stalled"} {
		for _, item := range list {
			c := item.(map[string]any)
			switch {
			case c["type"] != kind:
			case (kind == "Reconciling" || kind == "Stalled") && c["status"] == "True":
				words = append(words, kind)
			default:
				words = append(words, fmt.Sprintf("%s=%s/%s", kind, c["status"], c["reason"]))
			}
		}
	}
	return strings.Join(words, " ")
}

// History lists the results of a DBUpgrade's runs, the newest first.
func History(object *unstructured.Unstructured) []string {
	list, _, _ := unstructured.NestedSlice(object.Object, "status", "history")
	var results []string
	for _, item := range list {
		results = append(results, item.(map[string]any)["result"].(string))
	}
	return results
}
