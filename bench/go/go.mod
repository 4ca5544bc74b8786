module gorbench

go 1.26
