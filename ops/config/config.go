// Package config fills a command's flags from a YAML file and the environment.
// A setting has one name in three spellings, derived and never typed:
//
//	--listen-api   FLOTILLA_LISTEN_API   listen_api: (YAML)
//
// A flag that is given wins over the environment, which wins over the file,
// which wins over the default.
package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// FileFlag is the flag that names the YAML file. It is itself filled from the
// environment only.
const FileFlag = "config"

// EnvName is the environment variable of a flag.
func EnvName(flag string) string {
	return "FLOTILLA_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// YAMLName is the YAML key of a flag.
func YAMLName(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// Fill sets the flags that were not given. It reports every wrong setting at
// once, by the name under which it was set; a YAML key that is no flag is one.
func Fill(flags *pflag.FlagSet, lookupEnv func(string) (string, bool)) error {
	var errs []error
	set := func(f *pflag.Flag, value, source string) {
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", source, err))
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if value, ok := lookupEnv(EnvName(f.Name)); ok && !f.Changed {
			set(f, value, EnvName(f.Name))
		}
	})
	file := flags.Lookup(FileFlag)
	if file == nil || file.Value.String() == "" {
		return errors.Join(errs...)
	}
	path := file.Value.String()
	settings, err := readFile(path)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	flags.VisitAll(func(f *pflag.Flag) {
		name := YAMLName(f.Name)
		value, ok := settings[name]
		delete(settings, name)
		if ok && !f.Changed {
			set(f, value, path+": "+name)
		}
	})
	for _, name := range sortedKeys(settings) {
		errs = append(errs, fmt.Errorf("%s: %s is not a setting", path, name))
	}
	return errors.Join(errs...)
}

func readFile(path string) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", FileFlag, err)
	}
	settings := make(map[string]string)
	if err := yaml.Unmarshal(data, &settings); err != nil {
		return nil, fmt.Errorf("--%s: %s takes lines of the form name: value: %w", FileFlag, path, err)
	}
	return settings, nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
