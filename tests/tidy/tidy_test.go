package tidy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
)

const repository = "../.."

func TestTree(t *testing.T) {
	t.Parallel()
	tree, err := Load(repository)
	require.NoError(t, err)
	require.NotEmpty(t, tree.GoFiles())
	for _, check := range Checks() {
		t.Run(check.Name, func(t *testing.T) {
			t.Parallel()
			findings, err := check.Run(tree)
			require.NoError(t, err)
			sortFindings(findings)
			for _, finding := range findings {
				t.Error(finding)
			}
		})
	}
}

// TestChecksCanFail runs each check over a small tree that breaks its rule. The
// tree is an archive in testdata; the archive's file "want" lists the findings.
func TestChecksCanFail(t *testing.T) {
	t.Parallel()
	for _, check := range Checks() {
		t.Run(check.Name, func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile("testdata/" + check.Name + ".txtar")
			require.NoError(t, err)
			root := t.TempDir()
			if check.Name == "generated" {
				copyGeneratorInput(t, root)
			}
			want := plant(t, archive, root)
			tree, err := Load(root)
			require.NoError(t, err)
			findings, err := check.Run(tree)
			require.NoError(t, err)
			sortFindings(findings)
			var got []string
			for _, finding := range findings {
				require.NotEmpty(t, finding.Why)
				got = append(got, finding.Place())
			}
			require.NotEmpty(t, want)
			require.Equal(t, want, got)
		})
	}
}

// plant writes the archive's files below root and returns the lines of "want".
func plant(t *testing.T, archive *txtar.Archive, root string) (want []string) {
	t.Helper()
	for _, file := range archive.Files {
		if file.Name == "want" {
			want = strings.Split(strings.TrimSpace(string(file.Data)), "\n")
			continue
		}
		name := filepath.Join(root, filepath.FromSlash(file.Name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, file.Data, 0o600))
	}
	return want
}

// copyGeneratorInput copies what the generator reads and what it wrote.
func copyGeneratorInput(t *testing.T, root string) {
	t.Helper()
	for _, dir := range []string{"proto", "ops/tools"} {
		require.NoError(t, os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join(repository, dir))))
	}
	for _, name := range []string{"buf.yaml", "buf.gen.yaml"} {
		data, err := os.ReadFile(filepath.Join(repository, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(root, name), data, 0o600))
	}
}

func TestSplitName(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		"Put":             {"put"},
		"RangeStream":     {"range", "stream"},
		"DLQDepthMax":     {"dlq", "depth", "max"},
		"Reason_NOT_HERE": {"reason", "not", "here"},
		"TenantID":        {"tenant", "id"},
		"":                nil,
	}
	for name, want := range tests {
		require.Equal(t, want, splitName(name), name)
	}
}
