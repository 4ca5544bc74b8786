module gorhttp

go 1.26
