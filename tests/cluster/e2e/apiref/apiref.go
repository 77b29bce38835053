// SPDX-License-Identifier: Apache-2.0

// Package apiref writes the reference of the fields of a DBUpgrade (docs/api.md) from the CRD, with
// the values of docs/api-examples.yaml as examples, and that of the programs' flags (docs/flags.md)
// from what they print.
package apiref

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	goyaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"dbupgrade/tests/cluster/e2e/harness"
)

const width = 120 // of a line of Markdown

// Examples reads the complete objects.
func Examples() ([]*unstructured.Unstructured, error) {
	text, err := os.ReadFile(harness.Root("docs", "api-examples.yaml"))
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, document := range strings.Split(string(text), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(document), &object.Object); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

type writer struct {
	out      strings.Builder
	examples []*unstructured.Unstructured
	order    map[string][]string
	written  map[string]string // the canonical form of an object's schema: where it stands
	missing  []string          // fields without an example
}

// Fields is the reference of what lies below a top-level member, "spec" or "status".
func Fields(member string) (string, error) {
	crd, err := harness.CRD()
	if err != nil {
		return "", err
	}
	schema, err := harness.Schema(crd)
	if err != nil {
		return "", err
	}
	w := &writer{written: map[string]string{}}
	if w.examples, err = Examples(); err != nil {
		return "", err
	}
	if w.order, err = order(); err != nil {
		return "", err
	}
	w.object(member, child(schema, "properties", member))
	if len(w.missing) > 0 {
		return "", fmt.Errorf("docs/api-examples.yaml has no %s", strings.Join(w.missing, ", "))
	}
	return w.out.String(), nil
}

// object writes a section about the members of an object, and one for each object among them.
func (w *writer) object(path string, schema map[string]any) {
	fmt.Fprintf(&w.out, "\n### %s\n\n", path)
	w.paragraph("", text(schema, "description"))
	if said := rules(schema); len(said) > 0 {
		w.paragraph("", "What breaks these rules is refused: "+strings.Join(said, "; ")+".")
	}
	properties := child(schema, "properties")
	names := w.order[path]
	for _, name := range names {
		w.field(path, name, properties[name].(map[string]any), slices.Contains(strs(schema["required"]), name))
	}
	for _, name := range names {
		inner, at := members(properties[name].(map[string]any), path+"."+name)
		if inner != nil && w.written[canonical(inner)] == at {
			w.object(at, inner)
		}
	}
}

// collect notes the order in which the CRD names the members of each object below a schema.
func collect(schema *goyaml.Node, path string, order map[string][]string) {
	for i := 0; i+1 < len(schema.Content); i += 2 {
		switch value := schema.Content[i+1]; schema.Content[i].Value {
		case "properties":
			for j := 0; j+1 < len(value.Content); j += 2 {
				name := value.Content[j].Value
				order[path] = append(order[path], name)
				collect(value.Content[j+1], strings.TrimPrefix(path+"."+name, "."), order)
			}
		case "items":
			collect(value, path+"[]", order)
		}
	}
}

// order reads it from the CRD's text.
func order() (map[string][]string, error) {
	content, err := os.ReadFile(harness.Root("manifests", "crd", "dbupgrades.yaml"))
	if err != nil {
		return nil, err
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema goyaml.Node `yaml:"openAPIV3Schema"`
				} `yaml:"schema"`
			} `yaml:"versions"`
		} `yaml:"spec"`
	}
	if err := goyaml.Unmarshal(content, &crd); err != nil {
		return nil, err
	}
	names := map[string][]string{}
	collect(&crd.Spec.Versions[0].Schema.OpenAPIV3Schema, "", names)
	return names, nil
}

// members is the object that a field is, or that the items of a list are, when its members are known.
func members(schema map[string]any, path string) (map[string]any, string) {
	if child(schema, "properties") != nil {
		return schema, path
	}
	if items := child(schema, "items"); items != nil {
		return members(items, path+"[]")
	}
	return nil, ""
}

func (w *writer) field(path, name string, schema map[string]any, required bool) {
	facts := []string{kind(schema)}
	if required {
		facts = append(facts, "required")
	}
	if value, ok := schema["default"]; ok {
		facts = append(facts, "default "+code(value))
	}
	sentences := []string{text(schema, "description")}
	sentences = append(sentences, limits(schema)...)
	inner, at := members(schema, path+"."+name)
	switch {
	case inner == nil:
		for _, rule := range rules(schema) {
			if !strings.HasSuffix(rule, `is immutable"`) {
				sentences = append(sentences, "Otherwise refused: "+rule+".")
			} else if !strings.Contains(text(schema, "description"), "Immutable") {
				sentences = append(sentences, "Immutable.")
			}
		}
		sentences = append(sentences, w.example(path+"."+name))
	case w.written[canonical(inner)] != "":
		sentences = append(sentences, "Its members are those of `"+w.written[canonical(inner)]+"`.")
	default:
		w.written[canonical(inner)] = at
		sentences = append(sentences, fmt.Sprintf("Its members: [%s](#%s).", at, anchor(at)))
	}
	w.paragraph("- ", fmt.Sprintf("**`%s`** (%s): %s", name, strings.Join(facts, ", "), strings.Join(sentences, " ")))
}

func (w *writer) example(path string) string {
	for _, object := range w.examples {
		if value := find(object.Object, strings.Split(path, ".")); value != nil {
			return "Example: " + code(value)
		}
	}
	w.missing = append(w.missing, path)
	return ""
}

// find looks for the value at a path; in lists, in every item.
func find(value any, path []string) any {
	if len(path) == 0 {
		return value
	}
	name, list := strings.CutSuffix(path[0], "[]")
	object, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	if !list {
		return find(object[name], path[1:])
	}
	items, _ := object[name].([]any)
	for _, item := range items {
		if found := find(item, path[1:]); found != nil {
			return found
		}
	}
	return nil
}

func kind(schema map[string]any) string {
	switch {
	case schema["type"] == "array":
		items := child(schema, "items")
		if keys := strs(schema["x-kubernetes-list-map-keys"]); len(keys) > 0 {
			return "list of " + plural(kind(items)) + " with different " + strings.Join(keys, ", ")
		}
		return "list of " + plural(kind(items))
	case schema["x-kubernetes-int-or-string"] == true:
		return "quantity"
	case child(schema, "additionalProperties") != nil:
		return "map of " + plural(kind(child(schema, "additionalProperties")))
	case schema["format"] == "date-time":
		return "time"
	}
	return text(schema, "type")
}

func plural(word string) string {
	if strings.HasSuffix(word, "y") {
		return strings.TrimSuffix(word, "y") + "ies"
	}
	return word + "s"
}

// limits are enum, range and length, each a sentence.
func limits(schema map[string]any) []string {
	var sentences []string
	if enum := schema["enum"]; enum != nil {
		var values []string
		for _, value := range enum.([]any) {
			values = append(values, code(value))
		}
		sentences = append(sentences, "One of "+strings.Join(values, ", ")+".")
	}
	for _, of := range []struct{ low, high, unit string }{
		{"minimum", "maximum", ""}, {"minLength", "maxLength", " characters"}, {"minItems", "maxItems", " items"},
		{"minProperties", "maxProperties", " members"}} {
		low, high := schema[of.low], schema[of.high]
		switch {
		case low != nil && high != nil:
			sentences = append(sentences, fmt.Sprintf("%s to %s%s.", number(low), number(high), of.unit))
		case high != nil:
			sentences = append(sentences, fmt.Sprintf("At most %s%s.", number(high), strings.TrimSuffix(of.unit, ending(high))))
		case low != nil:
			sentences = append(sentences, fmt.Sprintf("At least %s%s.", number(low), of.unit))
		}
	}
	return sentences
}

// ending of the plural that one thing does not have.
func ending(count any) string {
	if number(count) == "1" {
		return "s"
	}
	return ""
}

func number(value any) string {
	switch n := value.(type) {
	case float64:
		return fmt.Sprintf("%.0f", n)
	default:
		return fmt.Sprint(n)
	}
}

// rules are what the CEL rules say when they are broken.
func rules(schema map[string]any) []string {
	var said []string
	list, _ := schema["x-kubernetes-validations"].([]any)
	for _, item := range list {
		said = append(said, strconv.Quote(text(item.(map[string]any), "message")))
	}
	return said
}

// canonical is equal for schemas that say the same about members, whatever they are for.
func canonical(schema map[string]any) string {
	content, err := json.Marshal(map[string]any{"properties": schema["properties"], "required": schema["required"]})
	if err != nil {
		panic(err) // it was read from YAML
	}
	return strings.ReplaceAll(string(content), "post-check", "pre-check")
}

// paragraph writes a text in lines that are not too long; the further ones stand below the first.
func (w *writer) paragraph(bullet, text string) {
	line, indent := bullet, strings.Repeat(" ", len(bullet))
	for _, word := range word.FindAllString(text, -1) {
		if len(line)+1+len(word) > width && strings.TrimSpace(line) != "" {
			fmt.Fprintln(&w.out, strings.TrimRight(line, " "))
			line = indent
		}
		if line != bullet && line != indent {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(&w.out, line)
	if bullet == "" {
		fmt.Fprintln(&w.out)
	}
}

// word has no blanks, but within `code`.
var word = regexp.MustCompile("(`[^`]*`|\\S)+")

// code is a value as it may stand in YAML, in one line.
func code(value any) string {
	var content bytes.Buffer
	encoder := json.NewEncoder(&content)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err)
	}
	line := strings.TrimSpace(content.String())
	if s, ok := value.(string); ok && !ambiguous(s) {
		line = s
	}
	return "`" + line + "`"
}

// ambiguous strings are something else in YAML unless they stand in quotes.
func ambiguous(s string) bool {
	var value any
	err := yaml.Unmarshal([]byte("x: "+s), &value)
	object, ok := value.(map[string]any)
	return err != nil || !ok || object["x"] != s
}

func anchor(heading string) string {
	return strings.ToLower(strings.NewReplacer(".", "", "[", "", "]", "").Replace(heading))
}

func child(schema map[string]any, path ...string) map[string]any {
	for _, name := range path {
		schema, _ = schema[name].(map[string]any)
	}
	return schema
}

func text(schema map[string]any, name string) string {
	value, _ := schema[name].(string)
	return value
}

func strs(value any) []string {
	list, _ := value.([]any)
	var result []string
	for _, item := range list {
		result = append(result, item.(string))
	}
	return result
}
