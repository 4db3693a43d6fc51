package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/ops/config"
)

type settings struct {
	flags *pflag.FlagSet
	api   string
	count int
}

func newSettings(t *testing.T, args ...string) *settings {
	t.Helper()
	s := &settings{flags: pflag.NewFlagSet("test", pflag.ContinueOnError)}
	s.flags.StringVar(&s.api, "listen-api", "default", "")
	s.flags.IntVar(&s.count, "data-shards", 4, "")
	s.flags.String(config.FileFlag, "", "")
	require.NoError(t, s.flags.Parse(args))
	return s
}

func env(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

func yamlFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flotilla.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestFlagWinsOverEnvironmentOverFileOverDefault(t *testing.T) {
	t.Parallel()
	path := yamlFile(t, "listen_api: file\ndata_shards: 7\n")
	vars := map[string]string{"FLOTILLA_CONFIG": path}

	s := newSettings(t)
	require.NoError(t, config.Fill(s.flags, env(nil)))
	require.Equal(t, "default", s.api)

	s = newSettings(t)
	require.NoError(t, config.Fill(s.flags, env(vars)))
	require.Equal(t, "file", s.api)
	require.Equal(t, 7, s.count)

	vars["FLOTILLA_LISTEN_API"] = "env"
	s = newSettings(t)
	require.NoError(t, config.Fill(s.flags, env(vars)))
	require.Equal(t, "env", s.api)

	s = newSettings(t, "--listen-api=flag")
	require.NoError(t, config.Fill(s.flags, env(vars)))
	require.Equal(t, "flag", s.api)
}

func TestEveryWrongSettingIsNamed(t *testing.T) {
	t.Parallel()
	path := yamlFile(t, "data_shard: 7\nlisten_apis: x\n")
	s := newSettings(t, "--config", path)
	err := config.Fill(s.flags, env(map[string]string{"FLOTILLA_DATA_SHARDS": "many"}))
	require.ErrorContains(t, err, "FLOTILLA_DATA_SHARDS")
	require.ErrorContains(t, err, "data_shard is not a setting")
	require.ErrorContains(t, err, "listen_apis is not a setting")
}

func TestFileThatIsMissingOrNotYAMLIsRefused(t *testing.T) {
	t.Parallel()
	s := newSettings(t, "--config", filepath.Join(t.TempDir(), "none.yaml"))
	require.ErrorIs(t, config.Fill(s.flags, env(nil)), os.ErrNotExist)
	s = newSettings(t, "--config", yamlFile(t, "a: [1, 2]\n"))
	require.ErrorContains(t, config.Fill(s.flags, env(nil)), "name: value")
}
