package main

import (
	"fmt"
	"strings"
)

// commandLine joins arguments as the kernel splits its command line: at spaces that
// are not between double quotes. An argument that holds a space and no quotes gets
// some around its value.
func commandLine(arguments []string) (string, error) {
	words := make([]string, 0, len(arguments))
	for _, argument := range arguments {
		word, err := quoteArgument(argument)
		if err != nil {
			return "", err
		}
		words = append(words, word)
	}
	return strings.Join(words, " "), nil
}

func quoteArgument(argument string) (string, error) {
	switch {
	case argument == "":
		return "", fmt.Errorf("a kernel argument is empty")
	case strings.ContainsFunc(argument, isControl):
		return "", fmt.Errorf("kernel argument %q has control characters", argument)
	case strings.Count(argument, `"`)%2 != 0:
		return "", fmt.Errorf("kernel argument %q has a double quote without its match", argument)
	case !strings.Contains(argument, " "), strings.Contains(argument, `"`):
		return argument, nil
	}
	name, value, ok := strings.Cut(argument, "=")
	if !ok || strings.Contains(name, " ") {
		return `"` + argument + `"`, nil
	}
	return name + `="` + value + `"`, nil
}
