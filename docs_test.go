package credproxy_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	namedTest = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
	link      = regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]*))?\)`)
	heading   = regexp.MustCompile(`(?m)^#+ (.*)$`)
	mergeMark = regexp.MustCompile(`(?m)^(<<<<<<<|>>>>>>>)`)
	notInSlug = regexp.MustCompile("[^a-z0-9 _-]")
)

// TestDocuments holds that the tests which documents call as witnesses exist, that pages for
// users call none (CONTRIBUTING.md has them), that links lead somewhere, and that README leads
// to each guide.
func TestDocuments(t *testing.T) {
	tests := map[string]bool{}
	for _, path := range files(t, ".", "_test.go") {
		for _, match := range testFunc.FindAllStringSubmatch(read(t, path), -1) {
			tests[match[1]] = true
		}
	}
	readme := read(t, "README.md")
	guides := files(t, "docs", ".md")
	for _, path := range append(guides, "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md") {
		text := read(t, path)
		if mergeMark.MatchString(text) {
			t.Errorf("%s has the marks of a merge that did not end", path)
		}
		for _, match := range namedTest.FindAllStringSubmatch(text, -1) {
			if !tests[match[1]] {
				t.Errorf("%s: there is no %s", path, match[1])
			}
			if path == "README.md" || slices.Contains(guides, path) && path != filepath.Join("docs", "design.md") {
				t.Errorf("%s names %s, which belongs in CONTRIBUTING.md", path, match[1])
			}
		}
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			if target, anchor := match[1], match[2]; !strings.Contains(target, "://") && !leads(path, target, anchor) {
				t.Errorf("%s: the link to %s leads nowhere", path, match[0])
			}
		}
	}
	for _, path := range guides {
		if !strings.Contains(readme, "("+filepath.ToSlash(path)) {
			t.Errorf("README does not lead to %s", path)
		}
	}
}

// leads reports whether a link in the document at path leads to a file, and to a heading
// if it names one.
func leads(path, target, anchor string) bool {
	file := path
	if target != "" {
		file = filepath.Join(filepath.Dir(path), target)
	}
	text, err := os.ReadFile(file)
	if err != nil || anchor == "" {
		_, err := os.Stat(file)
		return err == nil
	}
	for _, match := range heading.FindAllStringSubmatch(string(text), -1) {
		if strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-") == anchor {
			return true
		}
	}
	return false
}

func files(t *testing.T, dir, suffix string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, suffix) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
