// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"os"
	"strings"
	"testing"
)

// Document compares a document of the project, or its part between the lines <!-- section --> and
// <!-- end of section --> when section is not empty, with what it should be. With UPDATE_DOCS=1 it
// writes that instead.
func Document(t testing.TB, path, section, want string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	old := string(content)
	before, got, after := "", old, ""
	if section != "" {
		begin, end := "<!-- "+section+" -->\n", "<!-- end of "+section+" -->\n"
		var ok, ended bool
		before, got, ok = strings.Cut(old, begin)
		got, after, ended = strings.Cut(got, end)
		if !ok || !ended {
			t.Fatalf("%s: no lines %q and %q", path, begin, end)
		}
		before, after = before+begin, end+after
	}
	switch {
	case got == want:
	case os.Getenv("UPDATE_DOCS") != "":
		if err := os.WriteFile(path, []byte(before+want+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s %s is not up to date: run this test with UPDATE_DOCS=1, and look at the change.\nWant:\n%s", path, section, want)
	}
}
