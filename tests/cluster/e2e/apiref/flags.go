// SPDX-License-Identifier: Apache-2.0

package apiref

import (
	"fmt"
	"regexp"
	"strings"
)

// What --help prints of a flag below its name: "What it does. (default 9443) [DBUPGRADE_WEBHOOK_PORT]"
var flagText = regexp.MustCompile(`^        (.*?)(?: \(default ([^()]*)\))?(?: \[([A-Z_]+)\])?$`)

// Flags is the reference of a program's flags, from what its --help prints: a table for each group.
func Flags(help string) (string, error) {
	var out strings.Builder
	_, groups, ok := strings.Cut(help, " [flags]\n")
	if !ok {
		return "", fmt.Errorf("no usage in %q", help)
	}
	flag := ""
	for line := range strings.Lines(groups) {
		line = strings.TrimSuffix(line, "\n")
		name, isFlag := strings.CutPrefix(line, "  --")
		text := flagText.FindStringSubmatch(line)
		switch {
		case line == "":
		case flag != "" && text != nil:
			fmt.Fprintf(&out, "| `--%s` | %s | %s | %s |\n", flag, literal(text[2]), literal(text[3]), cell(text[1]))
			flag = ""
		case flag == "" && isFlag && !strings.HasPrefix(name, " "):
			flag = name
		case flag == "" && strings.HasSuffix(line, ":") && !strings.HasPrefix(line, " "):
			fmt.Fprintf(&out, "\n### %s\n\n| flag | default | in the environment | |\n|---|---|---|---|\n",
				strings.TrimSuffix(line, ":"))
		default:
			return "", fmt.Errorf("%q is not understood", line)
		}
	}
	if flag != "" {
		return "", fmt.Errorf("nothing is said of --%s", flag)
	}
	return out.String() + "\n", nil
}

// literal is a value as it is typed; words about it, and none at all, stay as they are.
func literal(text string) string {
	if text == "" || strings.Contains(text, " ") || text == "all" {
		return text
	}
	return "`" + text + "`"
}

// cell is a text as it may stand in a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", `\<`, "~", `\~`, "$", `\$`, "*", `\*`).Replace(text)
}
